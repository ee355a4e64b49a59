/* One sweep of the fused model:
 *     candidate_jc = w_jc - eta * sign_j * g_jc,   g_j = X^T (D_j * r),   D_j = 1[X h_j > 0],
 * for tile after tile of neurons: first the pattern bits of the tile, then its gradient by blocks
 * of 16 columns, of which only the candidates that reach the selector's threshold leave the
 * registers.
 *
 * Sums of a neuron: 64 samples (two sums of table entries of five samples), then words of 64
 * samples up to SPAN_WORDS, then spans. Neither tiles, strips, threads nor vector widths change
 * that order, so a gradient is a function of the pattern, the data and the residual alone. */
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
    size_t tile_bytes;    /* at most so much for them, but for least_neurons */
    size_t least_neurons; /* however many samples there are */
    size_t strip_neurons; /* neurons of a work item: their sums stay in L2 */
    size_t panel_bytes;   /* dense generators drawn at once, in L2 */
    size_t cache_bytes;   /* samples x inputs that sparse patterns are made from at once */
    size_t items;         /* work items a thread, at least, for balance */
    size_t entries;       /* candidates a thread collects before it offers them */
} tuning = {1024, 16u << 20, 64, 512, 512u << 10, 512u << 10, 4, 1024};

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

/* What one thread works in. */
typedef struct worker {
    gradient_scratch scratch;
    float *sums, *totals; /* [strip_neurons, BLOCK_COLUMNS] */
    float *packed;        /* [inputs, WORD_SAMPLES] */
    float *drawn;         /* [inputs] */
    entry *entries;       /* [tuning.entries] */
    size_t count;
} worker;

struct sweep {
    cpu_backend *backend;
    size_t inputs, words, tile, panel; /* panel: dense generators drawn at once */
    size_t bits_stride;                /* tile and a little: rows a power of two apart collide */
    uint64_t *bits;                    /* [words, bits_stride] */
    uint32_t *neurons;                 /* [tile] */
    tile_generator *generators;        /* [tile] */
    uint32_t *dense;                   /* [tile] places of the dense generators */
    float *panels;                     /* [panel / PANEL_NEURONS, inputs, PANEL_NEURONS] */
    worker *workers;                   /* [threads] */
    float *floats;                     /* of the workers */
    entry *entries;                    /* of the workers */
    omp_lock_t lock;                   /* of the selector */
    uint32_t threshold;                /* the selector's, read without the lock */
    double pattern_seconds;
};

/* Neurons in the order they are swept: those with weights (row p of the weights is at position p),
 * then all others ascending. */
typedef struct neuron_order {
    const sparse *weights;
    size_t position, total;
    uint32_t next; /* of the others */
    size_t row;    /* first row of weights at or after `next` */
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
    self->tile = smaller(tuning.tile_neurons, tuning.tile_bytes / sizeof(uint64_t) / self->words);
    self->tile = larger(self->tile / 8 * 8, tuning.least_neurons);
    self->bits_stride = self->tile + 8;
    size_t panels = tuning.panel_bytes / sizeof(float) / PANEL_NEURONS / larger(inputs, 1);
    panels = smaller(panels, divide_up(self->tile, PANEL_NEURONS));
    self->panel = larger(panels, 1) * PANEL_NEURONS;
    size_t floats = 2 * tuning.strip_neurons * BLOCK_COLUMNS + inputs * WORD_SAMPLES +
                    divide_up(inputs, 16) * 16;
    omp_init_lock(&self->lock);
#define ALLOCATE(category, field, count)                                                \
    if ((status = gate_allocate(context, MEMORY_##category, count, sizeof *self->field, \
                                "sweep: " #field, &self->field)))                       \
    goto done
    ALLOCATE(patterns, bits, self->words * self->bits_stride);
    ALLOCATE(workspace, neurons, self->tile);
    ALLOCATE(workspace, generators, self->tile);
    ALLOCATE(workspace, dense, self->tile);
    ALLOCATE(workspace, panels, self->panel * inputs);
    ALLOCATE(workspace, workers, threads);
    ALLOCATE(workspace, floats, threads * floats);
    ALLOCATE(candidates, entries, threads * tuning.entries);
#undef ALLOCATE
    place_workers(self, threads);
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
    gate_release(context, self->generators);
    gate_release(context, self->dense);
    gate_release(context, self->panels);
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

/* Where the pattern words of a tile go: word w of neuron i is bits[w * word_stride + i *
 * neuron_stride]. */
typedef struct pattern_tile {
    const batch *data;
    const generator_source *source;
    const uint32_t *neurons;
    size_t count, words;
    uint64_t *bits;
    size_t word_stride, neuron_stride;
} pattern_tile;

/* Samples are cut so that all their inputs stay in cache while the neurons pass by. */
static void sparse_patterns(sweep *self, const pattern_tile *tile)
{
    const sweep_kernels *kernels = kernels_of(self);
    int threads = (int)self->backend->base.context->threads;
    size_t word_bytes = larger(self->inputs, 1) * WORD_SAMPLES * sizeof(float);
    size_t words = smaller(larger(tuning.cache_bytes / word_bytes, 1), tile->words);
    size_t spans = divide_up(tile->words, words);
    size_t strips = divide_up(tile->count, WORD_SAMPLES);
#pragma omp parallel for num_threads(threads) schedule(dynamic) collapse(2)
    for (size_t span = 0; span < spans; span++)
        for (size_t strip = 0; strip < strips; strip++) {
            size_t first = span * words, last = smaller(tile->count, (strip + 1) * WORD_SAMPLES);
            for (size_t i = strip * WORD_SAMPLES; i < last; i++) {
                const tile_generator *h = &self->generators[i];
                if (!h->dense)
                    kernels->sparse_pattern(
                        tile->data->x, tile->data->stride, h->columns, h->values, h->count, first,
                        smaller(words, tile->words - first),
                        tile->bits + first * tile->word_stride + i * tile->neuron_stride,
                        tile->word_stride);
            }
        }
}

/* panels <- generators of the dense neurons number first .. first + count - 1, six interleaved;
 * the rest of the last panel is stale and its results are dropped. */
static void draw_panels(sweep *self, const pattern_tile *tile, size_t first, size_t count)
{
    const normals_kernel *normals = normals_for(self->backend->isa);
    int threads = (int)self->backend->base.context->threads;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < count; i++) {
        float *drawn = self->workers[omp_get_thread_num()].drawn;
        normals->fill(tile->source->seed, RNG_GENERATOR, tile->neurons[self->dense[first + i]], 0,
                      self->inputs, drawn);
        float *panel = self->panels + i / PANEL_NEURONS * PANEL_NEURONS * self->inputs;
        for (size_t input = 0; input < self->inputs; input++)
            panel[input * PANEL_NEURONS + i % PANEL_NEURONS] = drawn[input];
    }
}

static void multiply_panels(sweep *self, const pattern_tile *tile, size_t first, size_t count)
{
    const sweep_kernels *kernels = kernels_of(self);
    int threads = (int)self->backend->base.context->threads;
    size_t panels = divide_up(count, PANEL_NEURONS);
    /* With few words, panels are shared out as well; each share packs the samples again. */
    size_t shares = smaller(panels, divide_up(tuning.items * (size_t)threads, tile->words));
#pragma omp parallel for num_threads(threads) schedule(dynamic) collapse(2)
    for (size_t word = 0; word < tile->words; word++)
        for (size_t share = 0; share < shares; share++) {
            float *packed = self->workers[omp_get_thread_num()].packed;
            kernels->pack_samples(tile->data->x, tile->data->stride, self->inputs, word, packed);
            for (size_t p = share; p < panels; p += shares) {
                uint64_t masks[PANEL_NEURONS];
                const float *panel = self->panels + p * PANEL_NEURONS * self->inputs;
                kernels->dense_pattern(packed, panel, self->inputs, masks);
                size_t rest = smaller(PANEL_NEURONS, count - p * PANEL_NEURONS);
                for (size_t i = 0; i < rest; i++) {
                    size_t place = self->dense[first + p * PANEL_NEURONS + i];
                    tile->bits[word * tile->word_stride + place * tile->neuron_stride] = masks[i];
                }
            }
        }
}

/* Pattern bits of up to self->tile neurons. */
static void make_patterns(sweep *self, const pattern_tile *tile)
{
    int threads = (int)self->backend->base.context->threads;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < tile->count; i++)
        find_generator(tile->source, tile->neurons[i], &self->generators[i]);
    size_t dense = 0;
    for (size_t i = 0; i < tile->count; i++)
        if (self->generators[i].dense)
            self->dense[dense++] = (uint32_t)i;
    if (dense < tile->count)
        sparse_patterns(self, tile);
    for (size_t first = 0; first < dense; first += self->panel) {
        size_t count = smaller(self->panel, dense - first);
        draw_panels(self, tile, first, count);
        multiply_panels(self, tile, first, count);
    }
}

reliht_status sweep_patterns(sweep *self, const batch *data, const generator_source *generators,
                             const uint32_t *neurons, size_t count, uint64_t *bits)
{
    size_t words = data->stride / WORD_SAMPLES;
    for (size_t first = 0; first < count; first += self->tile) {
        pattern_tile tile = {.data = data,
                             .source = generators,
                             .neurons = neurons + first,
                             .count = smaller(self->tile, count - first),
                             .words = words,
                             .bits = bits + first * words,
                             .word_stride = 1,
                             .neuron_stride = words};
        make_patterns(self, &tile);
    }
    return RELIHT_OK;
}

/* ---------------------------------------------------------------- candidates */

/* The part of a sweep that stays the same from tile to tile, and the tile at hand. */
typedef struct sweep_job {
    const batch *data;
    const float *residual;
    const sparse *weights;
    bool mixed;
    float step_size;
    selector *best;
    size_t position; /* of the tile's first neuron in the order */
    size_t count;    /* neurons of the tile */
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
static void collect(sweep *self, worker *w, const sweep_job *job, size_t i, size_t first_column,
                    size_t columns, const float *sums)
{
    uint32_t threshold = __atomic_load_n(&self->threshold, __ATOMIC_RELAXED);
    uint32_t neuron = self->neurons[i];
    float scale = job->mixed && neuron % 2 ? job->step_size : -job->step_size;
    float candidates[BLOCK_COLUMNS];
    if (job->position + i < job->weights->live) {
        step_with_weights(job->weights, job->position + i, scale, first_column, columns, sums,
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
static void sweep_strip(sweep *self, const sweep_job *job, size_t first_column, size_t first,
                        size_t count)
{
    const sweep_kernels *kernels = kernels_of(self);
    worker *w = &self->workers[omp_get_thread_num()];
    gradient_job gradient = {.x = job->data->x + first_column * job->data->stride,
                             .stride = job->data->stride,
                             .columns = smaller(BLOCK_COLUMNS, self->inputs - first_column),
                             .residual = job->residual,
                             .bits = self->bits + first,
                             .bits_stride = self->bits_stride,
                             .neurons = count};
    memset(w->totals, 0, count * BLOCK_COLUMNS * sizeof *w->totals);
    memset(w->sums, 0, count * BLOCK_COLUMNS * sizeof *w->sums);
    for (size_t word = 0; word < job->words; word += SPAN_WORDS) {
        gradient.first_word = word;
        gradient.words = smaller(SPAN_WORDS, job->words - word);
        kernels->add_gradient(&gradient, &w->scratch, w->sums);
        kernels->fold_sums(w->totals, w->sums, count * BLOCK_COLUMNS);
    }
    for (size_t i = 0; i < count; i++)
        collect(self, w, job, first + i, first_column, gradient.columns,
                w->totals + i * BLOCK_COLUMNS);
}

static void sweep_tile(sweep *self, const sweep_job *job)
{
    size_t threads = self->backend->base.context->threads;
    size_t blocks = divide_up(self->inputs, BLOCK_COLUMNS);
    size_t strips = divide_up(job->count, tuning.strip_neurons);
    while (blocks * strips < tuning.items * threads && job->count / strips > WORD_SAMPLES)
        strips++;
    size_t strip = divide_up(job->count, strips);
#pragma omp parallel num_threads((int)threads)
    {
#pragma omp for schedule(dynamic) collapse(2)
        for (size_t block = 0; block < blocks; block++)
            for (size_t s = 0; s < strips; s++)
                if (s * strip < job->count)
                    sweep_strip(self, job, block * BLOCK_COLUMNS, s * strip,
                                smaller(strip, job->count - s * strip));
        offer_entries(self, &self->workers[omp_get_thread_num()], job->best);
    }
}

static size_t next_neurons(neuron_order *order, size_t most, uint32_t *neurons)
{
    size_t count = 0;
    const sparse *weights = order->weights;
    for (; count < most && order->position < order->total; count++, order->position++) {
        if (order->position < weights->live) {
            neurons[count] = weights->row[order->position];
            continue;
        }
        while (order->row < weights->live && weights->row[order->row] == order->next) {
            order->row++;
            order->next++;
        }
        neurons[count] = order->next++;
    }
    return count;
}

reliht_status sweep_run(sweep *self, const batch *data, const generator_source *generators,
                        reliht_signs signs, const float *residual, float step_size,
                        const sparse *weights, selector *best)
{
    bool drawn = generators->source == PATTERNS_DRAWN;
    neuron_order order = {.weights = weights, .total = drawn ? generators->hidden : weights->live};
    sweep_job job = {.data = data,
                     .residual = residual,
                     .weights = weights,
                     .mixed = signs == RELIHT_SIGNS_MIXED,
                     .step_size = step_size,
                     .best = best,
                     .words = padded_samples(data->samples) / WORD_SAMPLES};
    self->threshold = best->threshold;
    for (;;) {
        job.position = order.position;
        job.count = next_neurons(&order, self->tile, self->neurons);
        if (!job.count)
            return RELIHT_OK;
        double start = clock_wall();
        pattern_tile tile = {.data = data,
                             .source = generators,
                             .neurons = self->neurons,
                             .count = job.count,
                             .words = job.words,
                             .bits = self->bits,
                             .word_stride = self->bits_stride,
                             .neuron_stride = 1};
        make_patterns(self, &tile);
        self->pattern_seconds += clock_wall() - start;
        sweep_tile(self, &job);
    }
}
