#include "solver/network.h"

#include <math.h>
#include <stdlib.h>

reliht_status network_create(reliht_context *context, network *self, size_t hidden, size_t inputs,
                             size_t outputs, size_t hidden_room, size_t output_room)
{
    reliht_status status = sparse_create(context, &self->hidden, hidden, inputs, hidden_room);
    return status ? status : sparse_create(context, &self->output, hidden, outputs, output_room);
}

void network_destroy(reliht_context *context, network *self)
{
    sparse_destroy(context, &self->hidden);
    sparse_destroy(context, &self->output);
}

void network_copy(network *to, const network *from)
{
    sparse_copy(&to->hidden, &from->hidden);
    sparse_copy(&to->output, &from->output);
}

size_t network_nnz(const network *self)
{
    return self->hidden.nnz + self->output.nnz;
}

/* ---------------------------------------------------------------- rows */

double sparse_row_square(const sparse *matrix, size_t at)
{
    double sum = 0;
    for (size_t k = matrix->start[at]; k < matrix->start[at + 1]; k++)
        sum += (double)matrix->value[k] * (double)matrix->value[k];
    return sum;
}

void sparse_scale_row(sparse *matrix, size_t at, double factor)
{
    for (size_t k = matrix->start[at]; k < matrix->start[at + 1]; k++)
        matrix->value[k] = (float)((double)matrix->value[k] * factor);
}

void sparse_drop_zeros(sparse *matrix)
{
    size_t live = matrix->live, k = 0;
    sparse_clear(matrix);
    for (size_t at = 0; at < live; at++) {
        uint32_t row = matrix->row[at];
        for (size_t end = matrix->start[at + 1]; k < end; k++)
            if (matrix->value[k] != 0.0f)
                sparse_append(matrix, row, matrix->column[k], matrix->value[k]);
    }
}

void sparse_unite(const sparse *a, const sparse *b, sparse *out)
{
    size_t p = 0, q = 0, i = 0, k = 0;
    sparse_clear(out);
    while (i < a->nnz || k < b->nnz) {
        while (p < a->live && a->start[p + 1] <= i)
            p++;
        while (q < b->live && b->start[q + 1] <= k)
            q++;
        uint64_t left = i < a->nnz ? ((uint64_t)a->row[p] << 32 | a->column[i]) : UINT64_MAX;
        uint64_t right = k < b->nnz ? ((uint64_t)b->row[q] << 32 | b->column[k]) : UINT64_MAX;
        if (left <= right) {
            sparse_append(out, a->row[p], a->column[i], a->value[i]);
            i++;
            k += left == right;
        } else {
            sparse_append(out, b->row[q], b->column[k++], 0.0f);
        }
    }
}

/* ---------------------------------------------------------------- neurons */

void network_balance(network *self)
{
    for (size_t at = 0; at < self->hidden.live; at++) {
        size_t other = sparse_find_row(&self->output, self->hidden.row[at]);
        if (other == self->output.live)
            continue;
        double hidden = sparse_row_square(&self->hidden, at);
        double output = sparse_row_square(&self->output, other);
        if (!(hidden > 0 && output > 0))
            continue;
        double factor = sqrt(sqrt(output / hidden));
        sparse_scale_row(&self->hidden, at, factor);
        sparse_scale_row(&self->output, other, 1 / factor);
    }
}

static void clear_lonely_rows(sparse *matrix, const sparse *other)
{
    for (size_t at = 0; at < matrix->live; at++)
        if (sparse_find_row(other, matrix->row[at]) == other->live)
            sparse_scale_row(matrix, at, 0);
    sparse_drop_zeros(matrix);
}

void network_drop_incomplete(network *self)
{
    sparse_drop_zeros(&self->hidden);
    sparse_drop_zeros(&self->output);
    clear_lonely_rows(&self->hidden, &self->output);
    clear_lonely_rows(&self->output, &self->hidden);
}

/* ---------------------------------------------------------------- cut */

static int by_score(const void *left, const void *right)
{
    const ranking *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->place < b->place ? -1 : a->place > b->place;
}

static void cut_neurons(network *self, size_t hidden, ranking *ranks)
{
    size_t live = self->hidden.live;
    if (live <= hidden)
        return;
    for (size_t at = 0; at < live; at++)
        ranks[at] = (ranking){
            sparse_row_square(&self->hidden, at) * sparse_row_square(&self->output, at), at};
    qsort(ranks, live, sizeof *ranks, by_score);
    for (size_t i = hidden; i < live; i++)
        sparse_scale_row(&self->hidden, ranks[i].place, 0);
    network_drop_incomplete(self);
}

/* Appends a rank for every weight of one side. */
static size_t rank_side(const sparse *side, const sparse *other, size_t count, ranking *ranks)
{
    for (size_t at = 0; at < side->live; at++) {
        double square = sparse_row_square(other, at);
        for (size_t k = side->start[at]; k < side->start[at + 1]; k++, count++) {
            double value = (double)side->value[k];
            ranks[count] = (ranking){square * value * value, count};
        }
    }
    return count;
}

static void cut_weights(network *self, size_t nnz, ranking *ranks)
{
    size_t hidden = self->hidden.nnz;
    size_t count = rank_side(&self->hidden, &self->output, 0, ranks);
    count = rank_side(&self->output, &self->hidden, count, ranks);
    if (count <= nnz)
        return;
    qsort(ranks, count, sizeof *ranks, by_score);
    for (size_t i = nnz; i < count; i++) {
        size_t place = ranks[i].place;
        if (place < hidden)
            self->hidden.value[place] = 0;
        else
            self->output.value[place - hidden] = 0;
    }
    network_drop_incomplete(self);
}

static void append_row(sparse *to, uint32_t row, const sparse *from, size_t at)
{
    for (size_t k = from->start[at]; k < from->start[at + 1]; k++)
        sparse_append(to, row, from->column[k], from->value[k]);
}

/* Neurons numbered `hidden` or more take the free numbers below it, in order. */
static void renumber(network *self, size_t hidden, network *scratch)
{
    size_t low = 0, high = 0, lows, live = self->hidden.live;
    while (high < live && self->hidden.row[high] < hidden)
        high++;
    if (high == live)
        return;
    lows = high;
    sparse_clear(&scratch->hidden);
    sparse_clear(&scratch->output);
    for (uint32_t row = 0; low < lows || high < live; row++) {
        bool taken = low < lows && self->hidden.row[low] == row;
        if (!taken && high == live)
            continue;
        size_t at = taken ? low++ : high++;
        append_row(&scratch->hidden, row, &self->hidden, at);
        append_row(&scratch->output, row, &self->output, at);
    }
    network_copy(self, scratch);
}

void network_cut(network *self, size_t hidden, size_t nnz, ranking *ranks, network *scratch)
{
    network_drop_incomplete(self);
    cut_neurons(self, hidden, ranks);
    cut_weights(self, nnz, ranks);
    renumber(self, hidden, scratch);
}
