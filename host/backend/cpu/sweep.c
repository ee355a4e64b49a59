/* One sweep of the fused model:
 *     candidate_jc = w_jc - eta * sign_j * g_jc,   g_j = X^T (D_j * r),   D_j = 1[X h_j > 0],
 * for tile after tile of neurons: first the pattern bits of the tile, then its gradient by blocks
 * of 16 columns, of which only the candidates that reach the selector's threshold leave the
 * registers.
 *
 * Sums of a neuron: 64 samples (two sums of table entries of five samples), then words of 64
 * samples up to SPAN_WORDS, then spans. Neither tiles, strips, threads nor vector widths change
 * that order, so a gradient is a function of the pattern, the data and the residual alone.
 *
 * Threads work in teams. Few neurons make a few large tiles on which all threads work together and
 * wait for each other; many neurons make small tiles, of which every thread takes the next one for
 * itself and waits for nobody. Both use the same memory, as one team of all or as teams of one. */
#include "backend/cpu/sweep.h"

#include "backend/cpu/normals.h"
#include "backend/cpu/sweep_kernels.h"
#include "core/generator.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Measured on Zen 4 (32 KB L1, 1 MB L2 a core). */
static const struct tuning {
    size_t tile_neurons;  /* patterns held at once; tables of partial sums serve so many */
    size_t tile_bytes;    /* at most so much for them, but for least_neurons a thread */
    size_t least_neurons; /* of a thread's share of a tile */
    size_t apart_tiles;   /* from so many shares of a tile on, each thread takes its own */
    size_t strip_neurons; /* neurons of a work item: their sums stay in L2 */
    size_t group_neurons; /* neurons of a work item of patterns */
    size_t panel_bytes;   /* dense generators drawn at once, a thread's share: in L2 */
    size_t cache_bytes;   /* samples x inputs that sparse patterns are made from at once */
    size_t items;         /* work items a thread, at least, for balance */
    size_t entries;       /* candidates a thread collects before it offers them */
} tuning = {1024, 16u << 20, 64, 8, 512, 64, 512u << 10, 512u << 10, 4, 1024};

#define SPAN_WORDS 64u

/* Generator of a neuron of the tile: nonzeros, or a dense Gaussian one that is drawn in a panel. */
typedef struct tile_generator {
    const uint32_t *columns;
    const float *values;
    size_t count;
    bool dense;
    uint32_t drawn_columns[GENERATOR_NONZEROS];
    float drawn_values[GENERATOR_NONZEROS];
} tile_generator;

/* Loops of a tile whose items the members of a team take as they come. */
typedef enum phase { PHASE_FIND, PHASE_SPARSE, PHASE_DENSE, PHASE_GRADIENT, PHASES } phase;

/* A tile of neurons and the threads that work on it. */
typedef struct team {
    size_t members;
    size_t capacity, panel;     /* neurons of a tile; dense generators drawn at once */
    size_t bits_stride;         /* capacity and a little: rows a power of two apart collide */
    uint64_t *bits;             /* [words, bits_stride] */
    uint32_t *neurons;          /* [capacity] */
    tile_generator *generators; /* [capacity] */
    uint32_t *dense;            /* [capacity] places of the dense generators */
    float *panels;              /* [panel / PANEL_NEURONS, inputs, PANEL_NEURONS] */
    size_t position;            /* of the tile's first neuron in the order */
    size_t count, dense_count;  /* of the tile at hand */
    size_t next[PHASES];        /* item to be taken */
} team;

/* What one thread works in. */
typedef struct worker {
    gradient_scratch scratch;
    float *sums, *totals; /* [strip_neurons, BLOCK_COLUMNS] */
    float *packed;        /* [inputs, WORD_SAMPLES] */
    float *drawn;         /* [inputs] */
    entry *entries;       /* [tuning.entries] */
    size_t count;
    size_t member; /* of its team; 0 leads */
} worker;

struct sweep {
    cpu_backend *backend;
    size_t inputs, words;
    team whole;  /* of all threads */
    team *apart; /* [threads] of one each, in the same memory */
    uint64_t *bits;
    uint32_t *neurons, *dense;
    tile_generator *generators;
    float *panels;
    worker *workers;    /* [threads] */
    float *floats;      /* of the workers */
    entry *entries;     /* of the workers */
    omp_lock_t lock;    /* of the selector and the order of neurons */
    uint32_t threshold; /* the selector's, read without the lock */
    double pattern_seconds;
};

/* Neurons in the order they are swept: those with weights (row p of the weights is at position p),
 * then all others ascending. */
typedef struct neuron_order {
    const sparse *weights;
    const screen *screen; /* leaves out some of the others; may be NULL */
    size_t position;      /* neurons so far */
    size_t next, end;     /* of the others */
    size_t row;           /* first row of weights at or after `next` */
} neuron_order;

static const sweep_kernels *kernels_of(const sweep *self)
{
    ISA_DECLARE(sweep_kernels, sweep_kernels);
    static const sweep_kernels *const tables[] = ISA_TABLE(sweep_kernels);
    return tables[self->backend->isa];
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t divide_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

/* ---------------------------------------------------------------- teams */

/* The next item of a loop, if there is one. */
static bool take(team *t, phase p, size_t items, size_t *item)
{
    *item = __atomic_fetch_add(&t->next[p], 1, __ATOMIC_RELAXED);
    return *item < items;
}

/* Waits for the other members, if there are any. */
static void meet(const team *t)
{
    if (t->members > 1) {
#pragma omp barrier
    }
}

/* ---------------------------------------------------------------- memory */

static void place_workers(sweep *self, size_t threads)
{
    size_t sums = tuning.strip_neurons * BLOCK_COLUMNS;
    float *next = self->floats;
    for (size_t t = 0; t < threads; t++) {
        worker *w = &self->workers[t];
        w->sums = next;
        w->totals = w->sums + sums;
        w->packed = w->totals + sums;
        w->drawn = w->packed + self->inputs * WORD_SAMPLES;
        next = w->drawn + divide_up(self->inputs, 16) * 16;
        w->entries = self->entries + t * tuning.entries;
    }
}

/* Team number `first` when the memory is cut into `threads` shares of which it has `shares`. */
static team place_team(const sweep *self, size_t first, size_t shares, size_t capacity,
                       size_t panel)
{
    return (team){.members = shares,
                  .capacity = shares * capacity,
                  .panel = shares * panel,
                  .bits_stride = shares * (capacity + 8),
                  .bits = self->bits + first * self->words * (capacity + 8),
                  .neurons = self->neurons + first * capacity,
                  .generators = self->generators + first * capacity,
                  .dense = self->dense + first * capacity,
                  .panels = self->panels + first * panel * self->inputs};
}

reliht_status sweep_create(cpu_backend *owner, size_t samples, size_t inputs, sweep **out)
{
    reliht_context *context = owner->base.context;
    size_t threads = context->threads;
    *out = NULL;
    sweep *self;
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, 1, sizeof *self, "sweep", &self);
    if (status)
        return status;
    self->backend = owner;
    self->inputs = inputs;
    self->words = larger(padded_samples(samples) / WORD_SAMPLES, 1);
    omp_init_lock(&self->lock);
    /* A thread's share of a tile and of the dense generators. */
    size_t capacity = smaller(tuning.tile_neurons, tuning.tile_bytes / 8 / self->words) / threads;
    capacity = larger(capacity / 8 * 8, tuning.least_neurons);
    size_t panels = tuning.panel_bytes / sizeof(float) / PANEL_NEURONS / larger(inputs, 1);
    panels = larger(smaller(panels, divide_up(capacity, PANEL_NEURONS)), 1);
    size_t panel = panels * PANEL_NEURONS;
    size_t floats = 2 * tuning.strip_neurons * BLOCK_COLUMNS + inputs * WORD_SAMPLES +
                    divide_up(inputs, 16) * 16;
#define ALLOCATE(category, field, count)                                                \
    if ((status = gate_allocate(context, MEMORY_##category, count, sizeof *self->field, \
                                "sweep: " #field, &self->field)))                       \
    goto done
    ALLOCATE(patterns, bits, threads * self->words * (capacity + 8));
    ALLOCATE(workspace, neurons, threads * capacity);
    ALLOCATE(workspace, dense, threads * capacity);
    ALLOCATE(workspace, generators, threads * capacity);
    ALLOCATE(workspace, panels, threads * panel * inputs);
    ALLOCATE(workspace, apart, threads);
    ALLOCATE(workspace, workers, threads);
    ALLOCATE(workspace, floats, threads * floats);
    ALLOCATE(candidates, entries, threads * tuning.entries);
#undef ALLOCATE
    place_workers(self, threads);
    self->whole = place_team(self, 0, threads, capacity, panel);
    for (size_t t = 0; t < threads; t++)
        self->apart[t] = place_team(self, t, 1, capacity, panel);
    *out = self;
done:
    if (status)
        sweep_destroy(self);
    return status;
}

void sweep_destroy(sweep *self)
{
    if (!self)
        return;
    reliht_context *context = self->backend->base.context;
    omp_destroy_lock(&self->lock);
    gate_release(context, self->bits);
    gate_release(context, self->neurons);
    gate_release(context, self->dense);
    gate_release(context, self->generators);
    gate_release(context, self->panels);
    gate_release(context, self->apart);
    gate_release(context, self->workers);
    gate_release(context, self->floats);
    gate_release(context, self->entries);
    gate_release(context, self);
}

double sweep_pattern_seconds(const sweep *self)
{
    return self->pattern_seconds;
}

/* ---------------------------------------------------------------- patterns */

static void use_row(tile_generator *out, const sparse *matrix, uint32_t neuron)
{
    size_t row = sparse_find_row(matrix, neuron);
    if (row == matrix->live)
        return;
    out->columns = matrix->column + matrix->start[row];
    out->values = matrix->value + matrix->start[row];
    out->count = matrix->start[row + 1] - matrix->start[row];
}

static void find_generator(const generator_source *source, uint32_t neuron, tile_generator *out)
{
    out->count = 0;
    out->dense = false;
    if (source->source == PATTERNS_WEIGHTS) {
        use_row(out, source->weights, neuron);
    } else if (source->given && neuron < source->given->rows) {
        use_row(out, source->given, neuron);
    } else if (source->kind == RELIHT_GENERATOR_GAUSSIAN) {
        out->dense = true;
    } else {
        out->columns = out->drawn_columns;
        out->values = out->drawn_values;
        out->count = generator_draw_sparse(source->seed, neuron, source->inputs, out->drawn_columns,
                                           out->drawn_values);
    }
}

/* Where the pattern words of a tile come from and go to: word w of neuron i is
 * bits[w * word_stride + i * neuron_stride]. */
typedef struct pattern_job {
    const batch *data;
    const generator_source *source;
    size_t words;
    uint64_t *bits;
    size_t word_stride, neuron_stride;
} pattern_job;

static void find_generators(team *t, const worker *w, const pattern_job *job)
{
    size_t group;
    while (take(t, PHASE_FIND, divide_up(t->count, tuning.group_neurons), &group)) {
        size_t last = smaller(t->count, (group + 1) * tuning.group_neurons);
        for (size_t i = group * tuning.group_neurons; i < last; i++)
            find_generator(job->source, t->neurons[i], &t->generators[i]);
    }
    meet(t);
    if (w->member == 0) {
        t->dense_count = 0;
        for (size_t i = 0; i < t->count; i++)
            if (t->generators[i].dense)
                t->dense[t->dense_count++] = (uint32_t)i;
    }
    meet(t);
}

/* Samples are cut so that all their inputs stay in cache while the neurons pass by. */
static void sparse_patterns(const sweep *self, team *t, const pattern_job *job)
{
    const sweep_kernels *kernels = kernels_of(self);
    size_t word_bytes = larger(self->inputs, 1) * WORD_SAMPLES * sizeof(float);
    size_t words = smaller(larger(tuning.cache_bytes / word_bytes, 1), job->words);
    size_t groups = divide_up(t->count, tuning.group_neurons), item;
    while (take(t, PHASE_SPARSE, divide_up(job->words, words) * groups, &item)) {
        size_t first = item / groups * words, group = item % groups;
        size_t last = smaller(t->count, (group + 1) * tuning.group_neurons);
        for (size_t i = group * tuning.group_neurons; i < last; i++) {
            const tile_generator *h = &t->generators[i];
            if (!h->dense)
                kernels->sparse_pattern(job->data->x, job->data->stride, h->columns, h->values,
                                        h->count, first, smaller(words, job->words - first),
                                        job->bits + first * job->word_stride +
                                            i * job->neuron_stride,
                                        job->word_stride);
        }
    }
}

/* panels <- generators of the dense neurons number first .. first + count - 1, six interleaved;
 * the rest of the last panel is stale and its results are dropped. */
static void draw_panels(const sweep *self, team *t, const worker *w, const pattern_job *job,
                        size_t first, size_t count)
{
    const normals_kernel *normals = normals_for(self->backend->isa);
    for (size_t i = w->member; i < count; i += t->members) {
        normals->fill(job->source->seed, RNG_GENERATOR, t->neurons[t->dense[first + i]], 0,
                      self->inputs, w->drawn);
        float *panel = t->panels + i / PANEL_NEURONS * PANEL_NEURONS * self->inputs;
        for (size_t input = 0; input < self->inputs; input++)
            panel[input * PANEL_NEURONS + i % PANEL_NEURONS] = w->drawn[input];
    }
}

/* Pattern word `word` of every `shares`-th panel from number `share` on. */
static void multiply_panels(const sweep *self, const team *t, const worker *w,
                            const pattern_job *job, size_t first, size_t count, size_t word,
                            size_t share, size_t shares)
{
    const sweep_kernels *kernels = kernels_of(self);
    kernels->pack_samples(job->data->x, job->data->stride, self->inputs, word, w->packed);
    for (size_t p = share; p < divide_up(count, PANEL_NEURONS); p += shares) {
        uint64_t masks[PANEL_NEURONS];
        kernels->dense_pattern(w->packed, t->panels + p * PANEL_NEURONS * self->inputs,
                               self->inputs, masks);
        size_t rest = smaller(PANEL_NEURONS, count - p * PANEL_NEURONS);
        for (size_t i = 0; i < rest; i++) {
            size_t place = t->dense[first + p * PANEL_NEURONS + i];
            job->bits[word * job->word_stride + place * job->neuron_stride] = masks[i];
        }
    }
}

static void dense_patterns(const sweep *self, team *t, const worker *w, const pattern_job *job)
{
    for (size_t first = 0; first < t->dense_count; first += t->panel) {
        size_t count = smaller(t->panel, t->dense_count - first), item;
        /* With few words, panels are shared out as well; each share packs the samples again. */
        size_t wanted = t->members > 1 ? divide_up(tuning.items * t->members, job->words) : 1;
        size_t shares = smaller(divide_up(count, PANEL_NEURONS), wanted);
        draw_panels(self, t, w, job, first, count);
        meet(t);
        while (take(t, PHASE_DENSE, job->words * shares, &item))
            multiply_panels(self, t, w, job, first, count, item / shares, item % shares, shares);
        meet(t);
        if (w->member == 0)
            t->next[PHASE_DENSE] = 0;
    }
}

/* Pattern bits of the team's tile. */
static void make_patterns(const sweep *self, team *t, const worker *w, const pattern_job *job)
{
    find_generators(t, w, job);
    if (t->dense_count < t->count)
        sparse_patterns(self, t, job);
    dense_patterns(self, t, w, job);
    meet(t);
}

/* Makes the calling thread, in a parallel region, a member of the team of all threads. */
static worker *join_team(sweep *self)
{
    worker *w = &self->workers[omp_get_thread_num()];
    w->member = (size_t)omp_get_thread_num();
#pragma omp single
    self->whole.members = (size_t)omp_get_num_threads();
    return w;
}

/* The tile of the team <- the first of `count` neurons, as many as it holds. */
static void take_tile(team *t, const worker *w, const uint32_t *neurons, size_t count)
{
    if (w->member == 0) {
        t->count = smaller(t->capacity, count);
        memcpy(t->neurons, neurons, t->count * sizeof *neurons);
        memset(t->next, 0, sizeof t->next);
    }
    meet(t);
}

reliht_status sweep_patterns(sweep *self, const batch *data, const generator_source *generators,
                             const uint32_t *neurons, size_t count, uint64_t *bits)
{
    size_t words = data->stride / WORD_SAMPLES;
    team *t = &self->whole;
#pragma omp parallel num_threads((int)self->backend->base.context->threads)
    {
        worker *w = join_team(self);
        for (size_t first = 0; first < count; first += t->capacity) {
            take_tile(t, w, neurons + first, count - first);
            pattern_job job = {.data = data,
                               .source = generators,
                               .words = words,
                               .bits = bits + first * words,
                               .word_stride = 1,
                               .neuron_stride = words};
            make_patterns(self, t, w, &job);
        }
    }
    return RELIHT_OK;
}

/* ---------------------------------------------------------------- candidates */

/* The part of a sweep that stays the same from tile to tile. */
typedef struct sweep_job {
    const batch *data;
    const generator_source *generators;
    const float *residual;
    const sparse *weights;
    bool mixed;
    float step_size;
    selector *best;
    screen *screen;   /* may be NULL */
    float *gradients; /* instead of candidates: rows of the team's tile; NULL otherwise */
    size_t words;
} sweep_job;

static void offer_entries(sweep *self, worker *w, selector *best)
{
    omp_set_lock(&self->lock);
    selector_offer(best, w->entries, w->count);
    __atomic_store_n(&self->threshold, best->threshold, __ATOMIC_RELAXED);
    omp_unset_lock(&self->lock);
    w->count = 0;
}

/* w_jc - eta sign_j g_jc on the support of a neuron, the product alone off it. */
static void step_with_weights(const sparse *weights, size_t row, float scale, size_t first_column,
                              size_t columns, const float *sums, float *candidates)
{
    for (size_t c = 0; c < columns; c++)
        candidates[c] = scale * sums[c];
    for (size_t k = weights->start[row]; k < weights->start[row + 1]; k++) {
        size_t c = weights->column[k] - first_column;
        if (c < columns)
            candidates[c] = fmaf(scale, sums[c], weights->value[k]);
    }
}

/* Collects the candidates of one neuron and block of columns that reach the threshold. */
static void collect(sweep *self, const team *t, worker *w, const sweep_job *job, size_t i,
                    size_t first_column, size_t columns, const float *sums)
{
    uint32_t threshold = __atomic_load_n(&self->threshold, __ATOMIC_RELAXED);
    uint32_t neuron = t->neurons[i];
    float scale = job->mixed && neuron % 2 ? job->step_size : -job->step_size;
    float candidates[BLOCK_COLUMNS];
    if (t->position + i < job->weights->live) {
        step_with_weights(job->weights, t->position + i, scale, first_column, columns, sums,
                          candidates);
    } else {
        if (!kernels_of(self)->reach(sums, scale, threshold))
            return;
        for (size_t c = 0; c < columns; c++)
            candidates[c] = scale * sums[c];
    }
    if (w->count + BLOCK_COLUMNS > tuning.entries)
        offer_entries(self, w, job->best);
    for (size_t c = 0; c < columns; c++)
        if (magnitude_bits(candidates[c]) >= threshold)
            w->entries[w->count++] = (entry){candidates[c], neuron, (uint32_t)(first_column + c)};
}

/* Gradient and candidates of `count` neurons of the tile in one block of columns. */
static void sweep_strip(sweep *self, const team *t, worker *w, const sweep_job *job,
                        size_t first_column, size_t first, size_t count)
{
    const sweep_kernels *kernels = kernels_of(self);
    gradient_job gradient = {.x = job->data->x + first_column * job->data->stride,
                             .stride = job->data->stride,
                             .columns = smaller(BLOCK_COLUMNS, self->inputs - first_column),
                             .residual = job->residual,
                             .bits = t->bits + first,
                             .bits_stride = t->bits_stride,
                             .neurons = count};
    memset(w->totals, 0, count * BLOCK_COLUMNS * sizeof *w->totals);
    memset(w->sums, 0, count * BLOCK_COLUMNS * sizeof *w->sums);
    for (size_t word = 0; word < job->words; word += SPAN_WORDS) {
        gradient.first_word = word;
        gradient.words = smaller(SPAN_WORDS, job->words - word);
        kernels->add_gradient(&gradient, &w->scratch, w->sums);
        kernels->fold_sums(w->totals, w->sums, count * BLOCK_COLUMNS);
    }
    for (size_t i = 0; i < count; i++) {
        const float *totals = w->totals + i * BLOCK_COLUMNS;
        if (job->gradients) {
            memcpy(job->gradients + (first + i) * self->inputs + first_column, totals,
                   gradient.columns * sizeof *totals);
            continue;
        }
        if (job->screen)
            screen_raise(job->screen, t->neurons[first + i], totals, gradient.columns);
        collect(self, t, w, job, first + i, first_column, gradient.columns, totals);
    }
}

/* Items are strips of neurons in blocks of columns, the same block after each other. */
static void sweep_tile(sweep *self, team *t, worker *w, const sweep_job *job)
{
    size_t blocks = divide_up(self->inputs, BLOCK_COLUMNS), item;
    size_t strips = larger(divide_up(t->count, tuning.strip_neurons), 1);
    while (t->members > 1 && blocks * strips < tuning.items * t->members &&
           t->count / strips > tuning.group_neurons)
        strips++;
    size_t strip = larger(divide_up(t->count, strips), 1);
    strips = divide_up(t->count, strip);
    while (take(t, PHASE_GRADIENT, blocks * strips, &item)) {
        size_t first = item % strips * strip;
        sweep_strip(self, t, w, job, item / strips * BLOCK_COLUMNS, first,
                    smaller(strip, t->count - first));
    }
}

/* At most `most` neurons, of which none gets position `until` or a later one. */
static size_t next_neurons(neuron_order *order, size_t until, size_t most, uint32_t *neurons)
{
    const sparse *weights = order->weights;
    size_t count = 0;
    most = smaller(most, until - smaller(until, order->position));
    for (; count < most && order->position < weights->live; order->position++)
        neurons[count++] = weights->row[order->position];
    while (count < most && order->next < order->end) {
        uint32_t neuron = (uint32_t)order->next++;
        if (order->row < weights->live && weights->row[order->row] == neuron) {
            order->row++;
        } else if (!order->screen || !screen_skips(order->screen, neuron)) {
            neurons[count++] = neuron;
            order->position++;
        }
    }
    return count;
}

/* Tile after tile, up to position `until`. */
static void sweep_tiles(sweep *self, team *t, worker *w, const sweep_job *job, neuron_order *order,
                        size_t until)
{
    for (;;) {
        if (w->member == 0) {
            omp_set_lock(&self->lock);
            t->position = order->position;
            t->count = next_neurons(order, until, t->capacity, t->neurons);
            omp_unset_lock(&self->lock);
            if (job->screen)
                screen_forget(job->screen, t->neurons, t->count);
            memset(t->next, 0, sizeof t->next);
        }
        meet(t);
        if (!t->count)
            return;
        double start = clock_wall();
        pattern_job patterns = {.data = job->data,
                                .source = job->generators,
                                .words = job->words,
                                .bits = t->bits,
                                .word_stride = t->bits_stride,
                                .neuron_stride = 1};
        make_patterns(self, t, w, &patterns);
        if (w == self->workers)
            self->pattern_seconds += clock_wall() - start;
        sweep_tile(self, t, w, job);
        meet(t);
    }
}

/* The neurons with weights are done: what can the others still offer? */
static void decide(const sweep_job *job, size_t samples)
{
    selector_cut(job->best);
    screen_decide(job->screen, job->step_size, job->best->threshold, samples);
}

reliht_status sweep_run(sweep *self, const batch *data, const generator_source *generators,
                        reliht_signs signs, const float *residual, float step_size,
                        const sparse *weights, selector *best, screen *leave_out, size_t *swept)
{
    bool drawn = generators->source == PATTERNS_DRAWN;
    neuron_order order = {
        .weights = weights, .screen = leave_out, .end = drawn ? generators->hidden : 0};
    const sweep_job job = {.data = data,
                           .generators = generators,
                           .residual = residual,
                           .weights = weights,
                           .mixed = signs == RELIHT_SIGNS_MIXED,
                           .step_size = step_size,
                           .best = best,
                           .screen = leave_out,
                           .words = padded_samples(data->samples) / WORD_SAMPLES};
    self->threshold = best->threshold;
    /* Together as long as there are weights, so that the threshold is high early. */
    size_t total = drawn ? generators->hidden : weights->live;
    bool apart = total >= weights->live + tuning.apart_tiles * self->whole.capacity;
    size_t together = apart || leave_out ? weights->live : total;
#pragma omp parallel num_threads((int)self->backend->base.context->threads)
    {
        worker *w = join_team(self);
        sweep_tiles(self, &self->whole, w, &job, &order, together);
        if (leave_out) {
            offer_entries(self, w, best);
#pragma omp barrier
#pragma omp single
            decide(&job, data->samples);
        }
        if (apart) {
            w->member = 0;
            sweep_tiles(self, &self->apart[omp_get_thread_num()], w, &job, &order, SIZE_MAX);
        } else if (leave_out) {
            sweep_tiles(self, &self->whole, w, &job, &order, SIZE_MAX);
        }
        offer_entries(self, w, best);
    }
    *swept = order.position;
    return RELIHT_OK;
}

reliht_status sweep_gradients(sweep *self, const batch *data, const generator_source *generators,
                              const float *residual, const uint32_t *neurons, size_t count,
                              float *gradients)
{
    size_t words = padded_samples(data->samples) / WORD_SAMPLES;
    team *t = &self->whole;
#pragma omp parallel num_threads((int)self->backend->base.context->threads)
    {
        worker *w = join_team(self);
        for (size_t first = 0; first < count; first += t->capacity) {
            take_tile(t, w, neurons + first, count - first);
            pattern_job patterns = {.data = data,
                                    .source = generators,
                                    .words = words,
                                    .bits = t->bits,
                                    .word_stride = t->bits_stride,
                                    .neuron_stride = 1};
            make_patterns(self, t, w, &patterns);
            const sweep_job job = {.data = data,
                                   .residual = residual,
                                   .gradients = gradients + first * self->inputs,
                                   .words = words};
            sweep_tile(self, t, w, &job);
            meet(t);
        }
    }
    return RELIHT_OK;
}
