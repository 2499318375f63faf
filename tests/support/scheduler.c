/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "scheduler.h"

#include "pgtable_host.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#define STACK_BYTES (256u * 1024u)

/* The address sanitizer wants to know of each change of the stack. */
#if defined(__SANITIZE_ADDRESS__)
#define HAS_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ADDRESS_SANITIZER
#endif
#if __has_feature(thread_sanitizer)
#define HAS_THREAD_SANITIZER
#endif
#endif

#ifdef HAS_ADDRESS_SANITIZER
void __sanitizer_start_switch_fiber(void **fake_stack, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack, const void **bottom, size_t *size);
#endif

/*
 * A change of context saves the mask of signals, with calls of the kernel that take longer than
 * most tasks from one point to the next. A jump does not; but some of libc's and of the address
 * sanitizer's do not want to see one to another stack.
 */
#if !defined(HAS_ADDRESS_SANITIZER) && !defined(_FORTIFY_SOURCE)
#define HAS_JUMPS
#endif

/* One that runs: a task, or whoever has called scheduler_run(). */
struct fiber {
    ucontext_t context;
#ifdef HAS_JUMPS
    jmp_buf place; /* where it goes on, if it has begun */
    bool has_begun;
#endif
    const void *bottom;
    size_t size;
    void *fake_stack;
    bool is_done;
};

/* A point at which there was a choice, and what was chosen. */
struct choice {
    uint8_t options;
    uint8_t chosen;
};

struct scheduler {
    struct scheduler_options options;
    struct fiber tasks[SCHEDULER_TASKS];
    struct fiber home;
    uint8_t *stacks[SCHEDULER_TASKS];
    unsigned int count;
    unsigned int current;
    void (*run)(void *ctx, unsigned int task);
    void *ctx;

    unsigned int points;      /* so far in this run */
    unsigned int last_points; /* in the run before */
    unsigned int switches;
    uint64_t random;
    uint64_t run_seed;
    unsigned int drawn[16]; /* FEW: points at which to switch */

    struct choice trail[SCHEDULER_MOST_POINTS];
    unsigned int trail_count;  /* that are to be repeated */
    unsigned int trail_places; /* of this run */
    struct {
        unsigned int point;
        unsigned int task;
    } log[SCHEDULER_MOST_POINTS];
    unsigned int log_count;
};

/* For the entry of a task, which takes no arguments. */
static struct scheduler *running;

struct scheduler *scheduler_create(void)
{
    struct scheduler *s;

#ifdef HAS_THREAD_SANITIZER
    return NULL;
#endif
    s = calloc(1, sizeof(*s));
    for (unsigned int i = 0; i < SCHEDULER_TASKS; i++) {
        s->stacks[i] = malloc(STACK_BYTES);
        s->tasks[i].bottom = s->stacks[i];
        s->tasks[i].size = STACK_BYTES;
    }
    s->current = SCHEDULER_TASKS;
    return s;
}

void scheduler_destroy(struct scheduler *s)
{
    for (unsigned int i = 0; i < SCHEDULER_TASKS; i++) {
        free(s->stacks[i]);
    }
    free(s);
}

void scheduler_set(struct scheduler *s, const struct scheduler_options *options)
{
    CHECK(options->bound <= sizeof(s->drawn) / sizeof(s->drawn[0]));
    s->options = *options;
    s->random = options->seed;
    s->trail_count = 0;
    s->last_points = 64;
}

unsigned int scheduler_current(const struct scheduler *s)
{
    return s->current;
}

/* ---- Going from one to another ---- */

static void switch_fibers(struct fiber *from, struct fiber *to)
{
#ifdef HAS_ADDRESS_SANITIZER
    /* Nothing is kept for one that never comes back. */
    __sanitizer_start_switch_fiber(from->is_done ? NULL : &from->fake_stack, to->bottom, to->size);
#endif
#ifdef HAS_JUMPS
    if (_setjmp(from->place) == 0) {
        if (to->has_begun) {
            _longjmp(to->place, 1);
        }
        to->has_begun = true;
        setcontext(&to->context);
    }
#else
    swapcontext(&from->context, &to->context);
#endif
#ifdef HAS_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}

static struct fiber *fiber_of(struct scheduler *s, unsigned int task)
{
    return task < SCHEDULER_TASKS ? &s->tasks[task] : &s->home;
}

static void go_to(struct scheduler *s, unsigned int task)
{
    struct fiber *from = fiber_of(s, s->current);

    if (s->log_count < SCHEDULER_MOST_POINTS) {
        s->log[s->log_count].point = s->points;
        s->log[s->log_count].task = task;
        s->log_count++;
    }
    s->current = task;
    switch_fibers(from, fiber_of(s, task));
}

/* ---- Choosing ---- */

/* One of several ways: the one of the last run, or the first that was not tried. */
static unsigned int choose(struct scheduler *s, unsigned int options)
{
    struct choice *choice = &s->trail[s->trail_places];

    if (s->trail_places == SCHEDULER_MOST_POINTS) {
        return 0;
    }
    if (s->trail_places >= s->trail_count) {
        *choice = (struct choice){.options = (uint8_t)options};
        s->trail_count = s->trail_places + 1;
    }
    CHECK(choice->options == options); /* a run can be repeated */
    s->trail_places++;
    return choice->chosen;
}

/* The next way; false: all were tried. */
static bool turn_to_next(struct scheduler *s)
{
    while (s->trail_count != 0) {
        struct choice *choice = &s->trail[s->trail_count - 1];

        if (choice->chosen + 1 < choice->options) {
            choice->chosen++;
            return true;
        }
        s->trail_count--;
    }
    return false;
}

/* Which of the tasks that are not done, the current one not among them; SCHEDULER_TASKS: none. */
static unsigned int other_task(const struct scheduler *s, unsigned int number)
{
    for (unsigned int i = 0; i < s->count; i++) {
        if (i != s->current && !s->tasks[i].is_done && number-- == 0) {
            return i;
        }
    }
    return SCHEDULER_TASKS;
}

static unsigned int others_count(const struct scheduler *s)
{
    unsigned int count = 0;

    while (other_task(s, count) != SCHEDULER_TASKS) {
        count++;
    }
    return count;
}

static bool was_drawn(const struct scheduler *s)
{
    for (unsigned int i = 0; i < s->options.bound; i++) {
        if (s->drawn[i] == s->points) {
            return true;
        }
    }
    return false;
}

void scheduler_point(struct scheduler *s)
{
    unsigned int others;
    unsigned int chosen = 0; /* 0: to go on */

    if (s->current == SCHEDULER_TASKS) {
        return;
    }
    s->points++;
    others = others_count(s);
    if (others == 0) {
        return;
    }
    switch (s->options.policy) {
    case SCHEDULER_RANDOM:
        if ((pgtable_random(&s->random) & 0xff) < s->options.chance) {
            chosen = 1 + (unsigned int)(pgtable_random(&s->random) % others);
        }
        break;
    case SCHEDULER_FEW:
        if (was_drawn(s)) {
            chosen = 1 + (unsigned int)(pgtable_random(&s->random) % others);
        }
        break;
    case SCHEDULER_ALL:
        if (s->switches < s->options.bound) {
            chosen = choose(s, 1 + others);
        }
        break;
    }
    if (chosen != 0) {
        s->switches++;
        go_to(s, other_task(s, chosen - 1));
    }
}

/* Who begins, or goes on when a task is done. */
static unsigned int next_task(struct scheduler *s)
{
    unsigned int others = others_count(s);

    if (others == 0) {
        return SCHEDULER_TASKS;
    }
    if (s->options.policy == SCHEDULER_ALL) {
        return other_task(s, others == 1 ? 0 : choose(s, others));
    }
    return other_task(s, (unsigned int)(pgtable_random(&s->random) % others));
}

bool scheduler_give_way(struct scheduler *s)
{
    unsigned int task = s->current == SCHEDULER_TASKS ? SCHEDULER_TASKS : next_task(s);

    if (task != SCHEDULER_TASKS) {
        s->points++;
        go_to(s, task);
    }
    return task != SCHEDULER_TASKS;
}

/* ---- Running ---- */

static void enter_task(void)
{
    struct scheduler *s = running;

#ifdef HAS_ADDRESS_SANITIZER
    const void *bottom;
    size_t size;

    __sanitizer_finish_switch_fiber(NULL, &bottom, &size);
    if (s->home.bottom == NULL) {
        s->home.bottom = bottom;
        s->home.size = size;
    }
    /*
     * With the first switch here the sanitizer forgot what the last task has left on this stack.
     * With each further one it would do so again, which costs more than all the rest, and hides
     * overruns of frames.
     */
    s->tasks[s->current].context.uc_stack.ss_sp = NULL;
    s->tasks[s->current].context.uc_stack.ss_size = 0;
#endif
    s->run(s->ctx, s->current);
    s->tasks[s->current].is_done = true;
    go_to(s, next_task(s));
}

bool scheduler_run(struct scheduler *s, unsigned int count, void (*run)(void *ctx, unsigned int),
                   void *ctx)
{
    s->count = count;
    s->run = run;
    s->ctx = ctx;
    s->points = 0;
    s->switches = 0;
    s->log_count = 0;
    s->trail_places = 0;
    s->run_seed = s->random;
    for (unsigned int i = 0; i < s->options.bound; i++) {
        s->drawn[i] = (unsigned int)(pgtable_random(&s->random) % (s->last_points + 1));
    }
    running = s;
#ifdef HAS_JUMPS
    s->home.has_begun = true;
#endif
    for (unsigned int i = 0; i < count; i++) {
        struct fiber *task = &s->tasks[i];

        task->is_done = false;
#ifdef HAS_JUMPS
        task->has_begun = false;
#endif
        CHECK(getcontext(&task->context) == 0);
        task->context.uc_stack.ss_sp = s->stacks[i];
        task->context.uc_stack.ss_size = STACK_BYTES;
        task->context.uc_link = NULL;
        makecontext(&task->context, enter_task, 0);
    }
    go_to(s, next_task(s));
    s->last_points = s->points;
    return s->options.policy != SCHEDULER_ALL || turn_to_next(s);
}

void scheduler_describe(const struct scheduler *s)
{
    static const char *const names[] = {"random", "few", "all"};

    fprintf(stderr, "schedule: %s, bound %u, chance %u, seed %llu; switches (point:task):",
            names[s->options.policy], s->options.bound, s->options.chance,
            (unsigned long long)s->run_seed);
    for (unsigned int i = 0; i < s->log_count; i++) {
        fprintf(stderr, " %u:%u", s->log[i].point, s->log[i].task);
    }
    fprintf(stderr, "; now point %u of task %u\n", s->points, s->current);
}
