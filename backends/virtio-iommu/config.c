/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What the device says of itself in its configuration, and the one field that is written. */

#include "unit.h"

/*
 * Whoever has smaller pages than the device is told so by the granule; beyond this it is nonsense.
 */
#define MIN_GRANULE 0x1000ull
#define MAX_GRANULE 0x40000000ull

/* What can be mapped: the device's sizes, and its input range cut down to whole granules. */
static int read_aperture(struct virtio_iommu *unit)
{
    static const struct piommu_virtio_field fields[] = {
        {CONFIG_PAGE_SIZE_MASK, 8}, {CONFIG_INPUT_START, 8}, {CONFIG_INPUT_END, 8}};
    uint64_t values[3] = {0, 0, UINT64_MAX};
    bool has_range = (unit->features & F_INPUT_RANGE) != 0;
    uint64_t granule;
    int error = piommu_virtio_read_config(unit->device, fields, has_range ? 3 : 1, values);

    if (error != 0) {
        return error;
    }
    granule = values[0] & (~values[0] + 1);
    if (granule == 0 || granule > MAX_GRANULE || values[1] > values[2]) {
        return -PIOMMU_EBADMSG;
    }
    if (granule < MIN_GRANULE) {
        granule = MIN_GRANULE;
    }
    unit->facts.leaf_sizes = (values[0] & ~(granule - 1)) | granule;
    unit->facts.aperture.first = values[1];
    if ((values[1] & (granule - 1)) != 0) {
        unit->facts.aperture.first = (values[1] | (granule - 1)) + 1;
    }
    /* The last byte of the last whole granule. */
    unit->facts.aperture.last = values[2];
    if ((values[2] & (granule - 1)) != granule - 1) {
        unit->facts.aperture.last = (values[2] & ~(granule - 1)) - 1;
    }
    return unit->facts.aperture.first < values[1] || unit->facts.aperture.last > values[2] ||
                   unit->facts.aperture.first > unit->facts.aperture.last
               ? -PIOMMU_EBADMSG
               : 0;
}

static int read_domain_range(struct virtio_iommu *unit)
{
    static const struct piommu_virtio_field fields[] = {{CONFIG_DOMAIN_START, 4},
                                                        {CONFIG_DOMAIN_END, 4}};
    uint64_t values[2] = {0, UINT32_MAX};

    if ((unit->features & F_DOMAIN_RANGE) != 0) {
        int error = piommu_virtio_read_config(unit->device, fields, 2, values);

        if (error != 0) {
            return error;
        }
    }
    if (values[0] > values[1]) {
        return -PIOMMU_EBADMSG;
    }
    if (values[1] - values[0] < fixed_domains(unit)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    unit->facts.first_domain = (uint32_t)values[0];
    unit->facts.last_domain = (uint32_t)values[1];
    return 0;
}

static int read_probe_size(struct virtio_iommu *unit)
{
    static const struct piommu_virtio_field field = {CONFIG_PROBE_SIZE, 4};
    uint64_t size = 0;
    int error = 0;

    if ((unit->features & F_PROBE) != 0) {
        error = piommu_virtio_read_config(unit->device, &field, 1, &size);
    }
    if (error == 0 && size > MAX_PROBE_SIZE) {
        error = -PIOMMU_EBADMSG;
    }
    unit->facts.probe_size = (uint32_t)size;
    return error;
}

int piommu_virtio_iommu_read_config_(struct virtio_iommu *unit)
{
    int error = read_aperture(unit);

    if (error == 0) {
        error = read_domain_range(unit);
    }
    return error != 0 ? error : read_probe_size(unit);
}

int piommu_virtio_iommu_write_bypass_(struct virtio_iommu *unit, uint8_t bypass)
{
    uint8_t value = 0;
    int error = piommu_virtio_write_config_byte(unit->device, CONFIG_BYPASS, bypass);

    if (error == 0) {
        error = piommu_virtio_read_config_byte(unit->device, CONFIG_BYPASS, &value);
    }
    return error == 0 && (value & 1) != bypass ? -PIOMMU_EIO : error;
}
