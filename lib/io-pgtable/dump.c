/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* A table as text, for people. */

#include "pgtable.h"

#include "../base/text.h"
#include "inspect.h"

struct printer {
    piommu_pgtable_print print;
    void *cookie;
    struct piommu_text text;
};

static void print_line(struct printer *printer)
{
    printer->print(printer->cookie, printer->text.line);
    piommu_text_begin(&printer->text);
}

static void put_size(struct piommu_text *text, uint64_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned int unit = 0;

    while (size >= 1024 && size % 1024 == 0) {
        size /= 1024;
        unit++;
    }
    piommu_text_put_(text, "%u %s", (uint32_t)size, units[unit]);
}

static void put_level(struct piommu_text *text, int level)
{
    if (level < 0) {
        piommu_text_put_(text, "level -%u", (uint32_t)-level);
    } else {
        piommu_text_put_(text, "level %u", (uint32_t)level);
    }
}

static void print_flags(struct printer *printer, uint32_t flags)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } names[] = {
        {PIOMMU_PGTABLE_TTBR1, "ttbr1"},
        {PIOMMU_PGTABLE_NON_SECURE, "non-secure"},
        {PIOMMU_PGTABLE_FORCE_WRITE_BACK, "force-write-back"},
        {PIOMMU_PGTABLE_XNX, "xnx"},
        {PIOMMU_PGTABLE_CONCATENATE, "concatenate"},
        {PIOMMU_PGTABLE_SMALL_INPUT, "small-input"},
        {PIOMMU_PGTABLE_CONTIGUOUS, "contiguous"},
        {PIOMMU_PGTABLE_DIRTY, "dirty"},
        {PIOMMU_PGTABLE_BBM_LEVEL_2, "bbm-level-2"},
    };

    if (flags == 0) {
        return;
    }
    piommu_text_put_(&printer->text, "flags:");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if ((flags & names[i].flag) != 0) {
            piommu_text_put_(&printer->text, " %s", names[i].name);
        }
    }
    print_line(printer);
}

static void print_registers(struct printer *printer, const struct piommu_pgtable *table)
{
    if (pgtable_is_stage1(table)) {
        const struct piommu_pgtable_stage1_registers *stage1 = &table->info.registers.stage1;

        piommu_text_put_(&printer->text,
                         "ttbr %x mair %x tsz %u tg %u irgn %u orgn %u sh %u ips %u", stage1->ttbr,
                         stage1->mair, (uint32_t)stage1->tsz, (uint32_t)stage1->tg,
                         (uint32_t)stage1->irgn, (uint32_t)stage1->orgn, (uint32_t)stage1->sh,
                         (uint32_t)stage1->ips);
        piommu_text_put_(&printer->text, " ds %u ha %u hd %u", (uint32_t)stage1->ds,
                         (uint32_t)stage1->ha, (uint32_t)stage1->hd);
    } else {
        const struct piommu_pgtable_stage2_registers *stage2 = &table->info.registers.stage2;

        piommu_text_put_(&printer->text, "vttbr %x tsz %u tg %u irgn %u orgn %u sh %u ps %u sl %u",
                         stage2->vttbr, (uint32_t)stage2->tsz, (uint32_t)stage2->tg,
                         (uint32_t)stage2->irgn, (uint32_t)stage2->orgn, (uint32_t)stage2->sh,
                         (uint32_t)stage2->ps, (uint32_t)stage2->sl);
        piommu_text_put_(&printer->text, " sl2 %u ds %u ha %u hd %u", (uint32_t)stage2->sl2,
                         (uint32_t)stage2->ds, (uint32_t)stage2->ha, (uint32_t)stage2->hd);
    }
    print_line(printer);
}

static void print_head(struct printer *printer, const struct piommu_pgtable *table)
{
    const struct piommu_pgtable_info *info = &table->info;

    piommu_text_put_(&printer->text, "%s%s-bit LPAE stage %s, granule ",
                     info->adopted ? "adopted " : "", pgtable_is_32bit(table) ? "32" : "64",
                     pgtable_is_stage1(table) ? "1" : "2");
    put_size(&printer->text, info->granule);
    piommu_text_put_(&printer->text, ", %u bits in, %u bits out", (uint32_t)info->input_bits,
                     (uint32_t)info->output_bits);
    print_line(printer);
    print_flags(printer, info->flags);
    print_registers(printer, table);
    if (!info->adopted) {
        unsigned int spare = (unsigned int)counter_read(&table->tables_spare);

        piommu_text_put_(&printer->text, "empty tables %u, reserve %u of %u",
                         piommu_empty_count_(table), spare, table->tables_reserved);
        print_line(printer);
    }
    piommu_text_put_(&printer->text, "%x-%x ", info->aperture.first, info->aperture.last);
    put_level(&printer->text, info->start_level);
    piommu_text_put_(&printer->text, " root %x, ", info->root_physical);
    put_size(&printer->text, info->root_size);
    print_line(printer);
}

static void indent(struct printer *printer, const struct piommu_pgtable *table, unsigned int height)
{
    for (unsigned int h = height; h < table->root_height; h++) {
        piommu_text_put_(&printer->text, "  ");
    }
}

/* The tables on the way to the scan's leaf that were not on the way to the one before. */
static void print_tables(struct printer *printer, const struct scan *scan, unsigned int first_new)
{
    const struct piommu_pgtable *table = scan->table;

    for (unsigned int height = first_new; height + 1 > scan->height + 1; height--) {
        uint64_t mask = pgtable_span(table, height) - 1;
        descriptor_slot *slot = &scan->tables[height][pgtable_index(table, height, scan->iova)];
        uint64_t descriptor = descriptor_read(slot);

        indent(printer, table, height - 1);
        piommu_text_put_(&printer->text, "%x-%x ", scan->iova & ~mask, scan->iova | mask);
        put_level(&printer->text, pgtable_level(height - 1));
        piommu_text_put_(&printer->text, " table %x", pgtable_decode(table, descriptor));
        if (!table->adopted) {
            piommu_text_put_(&printer->text, ", %u used", descriptor_count(descriptor));
        }
        print_line(printer);
    }
}

/* Leaves side by side in one table that go on in input and output with the same attributes. */
struct run {
    uint64_t count; /* 0: none */
    unsigned int height;
    struct piommu_pgtable_step first;
    uint64_t last; /* input address */
};

static void put_prot(struct piommu_text *text, piommu_prot prot)
{
    static const char *const shareability[] = {"", " non-shareable", " outer", " inner"};

    piommu_text_put_(text, " %s%s%s%s%s", (prot & PIOMMU_PROT_READ) != 0 ? "r" : "-",
                     (prot & PIOMMU_PROT_WRITE) != 0 ? "w" : "-",
                     (prot & PIOMMU_PROT_EXECUTE) != 0 ? "x" : "-",
                     (prot & PIOMMU_PROT_EXECUTE_PRIVILEGED) != 0 ? "X" : "-",
                     (prot & PIOMMU_PROT_PRIVILEGED) != 0 ? "P" : "-");
    piommu_text_put_(text, "%s%s%s",
                     (prot & PIOMMU_PROT_DEVICE) != 0         ? " device"
                     : (prot & PIOMMU_PROT_NONCACHEABLE) != 0 ? " noncacheable"
                                                              : " cacheable",
                     shareability[(prot & PIOMMU_PROT_SHARE_MASK) / PIOMMU_PROT_SHARE_NONE],
                     (prot & PIOMMU_PROT_GLOBAL) != 0 ? " global" : "");
    if ((prot & PIOMMU_PROT_SOFTWARE_MASK) != 0) {
        piommu_text_put_(text, " software %u",
                         (prot & PIOMMU_PROT_SOFTWARE_MASK) / PIOMMU_PROT_SOFTWARE(1));
    }
}

static void print_run(struct printer *printer, const struct piommu_pgtable *table, struct run *run)
{
    struct piommu_text *text = &printer->text;

    if (run->count == 0) {
        return;
    }
    indent(printer, table, run->height);
    piommu_text_put_(text, "  %x-%x %u x ", run->first.covers.first, run->last,
                     (uint32_t)run->count);
    put_size(text, pgtable_span(table, run->height));
    piommu_text_put_(text, " -> %x", run->first.physical);
    put_prot(text, run->first.prot);
    piommu_text_put_(text, "%s%s%s", run->first.contiguous ? " contiguous" : "",
                     run->first.tracked ? " tracked" : "", run->first.dirty ? " dirty" : "");
    print_line(printer);
    run->count = 0;
}

static bool belongs(const struct piommu_pgtable *table, const struct run *run,
                    const struct piommu_pgtable_step *leaf)
{
    const struct piommu_pgtable_step *first = &run->first;

    return run->count != 0 && leaf->table_physical == first->table_physical &&
           run->last + 1 == leaf->covers.first &&
           first->physical + run->count * pgtable_span(table, run->height) == leaf->physical &&
           first->prot == leaf->prot && first->contiguous == leaf->contiguous &&
           first->tracked == leaf->tracked && first->dirty == leaf->dirty;
}

void piommu_pgtable_dump(const struct piommu_pgtable *table, uint64_t first, uint64_t last,
                         piommu_pgtable_print print, void *cookie)
{
    struct printer printer = {.print = print, .cookie = cookie};
    struct run run = {.count = 0};
    uint64_t before = 0; /* the leaf before, and the height of its table */
    unsigned int before_height = table->root_height;
    struct scan scan;

    piommu_text_begin(&printer.text);
    print_head(&printer, table);
    if (first < table->aperture.first) {
        first = table->aperture.first;
    }
    if (last > table->aperture.last) {
        last = table->aperture.last;
    }
    if (first > last) {
        return;
    }
    piommu_scan_begin_(&scan, table, first, last);
    while (piommu_scan_next_(&scan)) {
        struct piommu_pgtable_step leaf;
        unsigned int first_new = before_height;
        uint64_t table_physical = table->info.root_physical;

        /* The greatest height whose slot leads elsewhere than for the leaf before. */
        while (first_new < table->root_height &&
               ((before ^ scan.iova) >> table->shift[first_new + 1]) != 0) {
            first_new++;
        }
        if (scan.height < table->root_height) {
            table_physical =
                pgtable_decode(table, descriptor_read(&scan.tables[scan.height + 1][pgtable_index(
                                          table, scan.height + 1, scan.iova)]));
        }
        piommu_pgtable_decode_step_(table, scan.height, table_physical, scan.iova, scan.descriptor,
                                    &leaf);
        if (!belongs(table, &run, &leaf)) {
            print_run(&printer, table, &run);
            print_tables(&printer, &scan, first_new);
            run.first = leaf;
            run.height = scan.height;
        }
        run.count++;
        run.last = leaf.covers.last;
        before = scan.iova;
        before_height = scan.height;
        piommu_scan_skip_(&scan);
    }
    print_run(&printer, table, &run);
}
