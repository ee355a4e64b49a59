/* The part of sweep_simd.c that exists once per width of a block of columns, GRADIENT_COLUMNS: 16,
 * and 8 for what is left at the end (half the work for up to 8 columns). A sum takes the same order
 * in both. No include guard: sweep_simd.c includes it for each width. */
#define WIDTH_NAME(name) ISA_EXPAND(name, GRADIENT_COLUMNS)
#define WIDTH_LANES (LANES < GRADIENT_COLUMNS ? LANES : GRADIENT_COLUMNS)
#define WIDTH_VECTORS (GRADIENT_COLUMNS / WIDTH_LANES)
#define lanes WIDTH_NAME(lanes)
#define make_table WIDTH_NAME(make_table)
#define make_tables WIDTH_NAME(make_tables)
#define add_word WIDTH_NAME(add_word)

typedef float lanes __attribute__((vector_size(4 * WIDTH_LANES), aligned(4), may_alias));

/* table[mask] = sum of the rows whose bit is set, in ascending order. */
static inline void make_table(float rows[][BLOCK_COLUMNS], size_t samples,
                              float table[][GRADIENT_COLUMNS])
{
    for (size_t v = 0; v < GRADIENT_COLUMNS; v += WIDTH_LANES) {
        *(lanes *)&table[0][v] = (lanes){0};
        for (size_t bit = 0; bit < samples; bit++) {
            lanes row = *(const lanes *)&rows[bit][v];
            for (size_t mask = 0; mask < (size_t)1 << bit; mask++)
                *(lanes *)&table[mask | (size_t)1 << bit][v] =
                    *(const lanes *)&table[mask][v] + row;
        }
    }
}

static inline void make_tables(const gradient_job *job, size_t word, gradient_scratch *scratch)
{
    float(*tables)[TABLE_ENTRIES][GRADIENT_COLUMNS] = (void *)scratch->tables;
    for (size_t column = 0; column < job->columns; column += 4)
        multiply_group(job, word, column, scratch->rows);
    size_t last = TABLES - 1;
    for (size_t table = 0; table < last; table++)
        make_table(scratch->rows + table * TABLE_SAMPLES, TABLE_SAMPLES, tables[table]);
    make_table(scratch->rows + last * TABLE_SAMPLES, WORD_SAMPLES - last * TABLE_SAMPLES,
               tables[last]);
}

/* sums[c] += the table entries the word selects: those of the even tables, then of the odd ones.
 * The bits of a mask are shifted to where they are a byte offset, since the steps from word to
 * address are what there is most of. */
static inline void add_word(const gradient_scratch *scratch, uint64_t word, float *sums)
{
    enum { ENTRY_BITS = GRADIENT_COLUMNS == 16 ? 6 : 5 };
    _Static_assert(GRADIENT_COLUMNS * sizeof(float) == 1u << ENTRY_BITS, "bytes of a table entry");
    const char *tables = (const char *)scratch->tables;
    /* Or else the address of every table is kept, in registers there are not: one is enough, the
     * rest is in the displacements of the loads. */
    __asm__("" : "+r"(tables));
    lanes part[2][WIDTH_VECTORS];
    for (size_t table = 0; table < TABLES; table++) {
        size_t bit = table * TABLE_SAMPLES;
        uint64_t mask = bit < ENTRY_BITS ? word << (ENTRY_BITS - bit) : word >> (bit - ENTRY_BITS);
        mask &= (uint64_t)(TABLE_ENTRIES - 1) << ENTRY_BITS;
        const lanes *picked =
            (const lanes *)(tables + (table * TABLE_ENTRIES << ENTRY_BITS) + mask);
        for (size_t v = 0; v < WIDTH_VECTORS; v++)
            if (table < 2)
                part[table][v] = picked[v];
            else
                part[table % 2][v] += picked[v];
    }
    for (size_t v = 0; v < WIDTH_VECTORS; v++)
        ((lanes *)sums)[v] += part[0][v] + part[1][v];
}

static void WIDTH_NAME(add_gradient)(const gradient_job *job, gradient_scratch *scratch,
                                     float *sums)
{
    size_t last = job->first_word + job->words - 1;
    memset(scratch->rows, 0, sizeof scratch->rows);
    for (size_t word = job->first_word; word <= last; word++) {
        size_t next = word < last ? word + 1 : last;
        make_tables(job, word, scratch);
        prefetch_samples(job, next);
        const uint64_t *bits = job->bits + word * job->bits_stride;
        const uint64_t *ahead = job->bits + next * job->bits_stride;
        for (size_t i = 0; i < job->neurons; i++) {
            if (i % 8 == 0)
                __builtin_prefetch(ahead + i, 0, 2);
            add_word(scratch, bits[i], sums + i * BLOCK_COLUMNS);
        }
    }
}

#undef WIDTH_NAME
#undef WIDTH_LANES
#undef WIDTH_VECTORS
#undef lanes
#undef make_table
#undef make_tables
#undef add_word
