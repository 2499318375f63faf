/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "viommu_kinds.h"

/* Vectors of devices that have one for each queue and one for the rest. */
#define VECTORS 3u

static void make_strict(struct viommu_model_parameters *parameters)
{
    parameters->msix_vectors = VECTORS;
    parameters->hold_events = true;
    parameters->reset_reads = 2;
}

static void make_lax(struct viommu_model_parameters *parameters)
{
    parameters->offered_features |= VIOMMU_MODEL_F_RING_RESET;
    parameters->unknown_is_unsupp = true;
    parameters->partial_unmap = true;
    parameters->write_is_unsaid = true;
    parameters->event_piece = 4;
}

static void make_rigid(struct viommu_model_parameters *parameters)
{
    parameters->offered_features = VIOMMU_MODEL_F_VERSION_1 | VIOMMU_MODEL_F_MAP_UNMAP |
                                   VIOMMU_MODEL_F_PROBE | VIOMMU_MODEL_F_BYPASS_CONFIG;
    parameters->page_size_mask = 0x201000;
    parameters->probe_size = 24;
    parameters->bypass_is_unsaid = true;
    parameters->max_domains = 65536;
    parameters->max_mappings = 1048576;
    parameters->fixed_framing = true;
    parameters->no_top = true;
    parameters->keep_on_reattach = true;
    parameters->no_events = true;
    parameters->msix_vectors = VECTORS;
}

static void make_refusing(struct viommu_model_parameters *parameters)
{
    parameters->offered_features = VIOMMU_MODEL_F_VERSION_1 | VIOMMU_MODEL_F_MAP_UNMAP |
                                   VIOMMU_MODEL_F_INPUT_RANGE | VIOMMU_MODEL_F_MMIO;
    parameters->config_length = 36;
    parameters->initial_bypass = 0;
    parameters->lone_detach = true;
    parameters->read_is_implied = true;
    parameters->no_events = true;
    parameters->msix_vectors = VECTORS;
}

void viommu_kind_parameters(enum viommu_kind kind, struct viommu_model_parameters *parameters)
{
    viommu_model_default_parameters(parameters);
    switch (kind) {
    case VIOMMU_PLAIN:
        break;
    case VIOMMU_STRICT:
        make_strict(parameters);
        break;
    case VIOMMU_LAX:
        make_lax(parameters);
        break;
    case VIOMMU_RIGID:
        make_rigid(parameters);
        break;
    case VIOMMU_REFUSING:
        make_refusing(parameters);
        break;
    }
}
