/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include <piommu/error.h>
#include <piommu/version.h>

const char *piommu_version(void)
{
    return PIOMMU_VERSION_STRING;
}

const char *piommu_strerror(int error)
{
    /* Negated in unsigned arithmetic: the most negative number has no positive counterpart. */
    switch (error < 0 ? 0u - (unsigned int)error : (unsigned int)error) {
    case 0:
        return "success";
    case PIOMMU_EINVAL:
        return "an argument is malformed";
    case PIOMMU_ERANGE:
        return "an address is beyond what can be translated";
    case PIOMMU_EEXIST:
        return "something is mapped there already";
    case PIOMMU_ENOENT:
        return "not there";
    case PIOMMU_EBUSY:
        return "the object is in use";
    case PIOMMU_ECUT:
        return "the range would cut a mapping";
    case PIOMMU_EGROUP:
        return "the device shares a group with others";
    case PIOMMU_EMIXED:
        return "instances that do not go together";
    case PIOMMU_ERESERVED:
        return "the range overlaps a reserved region";
    case PIOMMU_EWAITING:
        return "an instance is not there yet";
    case PIOMMU_EHOLE:
        return "what stays mapped could fault for a moment";
    case PIOMMU_EOPNOTSUPP:
        return "the hardware cannot do this";
    case PIOMMU_EAGAIN:
        return "the call is to be made again";
    case PIOMMU_ENOMEM:
        return "no memory";
    case PIOMMU_ENOSPC:
        return "no hardware context is left";
    case PIOMMU_EBADMSG:
        return "firmware or device data is malformed";
    case PIOMMU_ENODEV:
        return "no such device";
    case PIOMMU_EIO:
        return "the device reported an error";
    case PIOMMU_ETIMEDOUT:
        return "the device did not answer in time";
    case PIOMMU_EFAILED:
        return "the instance has failed";
    case PIOMMU_EBLOCKED:
        return "the call failed and the devices are blocked";
    default:
        return "unknown error";
    }
}
