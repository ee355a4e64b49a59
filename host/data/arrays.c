/* Data sets and generators from .npy files, read piece by piece. */
#include "data/columns.h"
#include "data/npy.h"
#include "model/model.h"

#include <math.h>
#include <string.h>

/* Every class is an output: a larger label is an identifier, not a class. */
#define LABEL_MAXIMUM 65535

/* Room for one piece of an array, as it is in the file and as floats. */
typedef struct array_piece {
    size_t rows;
    unsigned char *bytes;
    float *values;
} array_piece;

static void piece_release(reliht_context *context, array_piece *piece)
{
    gate_release(context, piece->bytes);
    gate_release(context, piece->values);
    *piece = (array_piece){0};
}

static reliht_status piece_allocate(const npy_array *array, bool floats, array_piece *made)
{
    reliht_context *context = array->reader.context;
    *made = (array_piece){.rows = npy_piece_rows(array)};
    size_t elements = made->rows * array->columns;
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, elements, npy_element_bytes(array),
                      "piece of a .npy file", &made->bytes);
    if (!status && floats)
        status = gate_allocate(context, MEMORY_workspace, elements, sizeof(float),
                               "piece of a .npy file", &made->values);
    if (status)
        piece_release(context, made);
    return status;
}

static size_t piece_count(const npy_array *array, const array_piece *piece, size_t first)
{
    size_t left = array->rows - first;
    return left < piece->rows ? left : piece->rows;
}

/* columns[c * stride + r] = array[r, c], as floats. */
static reliht_status read_float_columns(npy_array *array, float *columns, size_t stride)
{
    reliht_context *context = array->reader.context;
    array_piece piece;
    reliht_status status = piece_allocate(array, true, &piece);
    if (status)
        return status;
    for (size_t first = 0; !status && first < array->rows; first += piece.rows) {
        size_t count = piece_count(array, &piece, first);
        status = npy_read_floats(array, first, count, piece.bytes, piece.values);
        if (!status)
            columns_from_floats(piece.values, count, array->columns, columns + first, stride);
    }
    piece_release(context, &piece);
    return status;
}

/* labels [rows] from the gate, and one more than the largest of them, but at least 2: data to score
 * a network on may lack classes. */
static reliht_status read_labels(npy_array *array, int32_t **labels, size_t *classes)
{
    reliht_context *context = array->reader.context;
    array_piece piece;
    reliht_status status = piece_allocate(array, false, &piece);
    if (status)
        return status;
    *classes = 2;
    status =
        gate_allocate(context, MEMORY_workspace, array->rows, sizeof **labels, "labels", labels);
    for (size_t first = 0; !status && first < array->rows; first += piece.rows)
        status = npy_read_labels(array, first, piece_count(array, &piece, first), piece.bytes,
                                 *labels + first);
    for (size_t i = 0; !status && i < array->rows; i++) {
        if ((*labels)[i] > LABEL_MAXIMUM)
            status = fail(context, RELIHT_DATA,
                          "%s: row %zu (from 0): label %d is above %d; number the classes 0, 1, 2, "
                          "... (real targets are floats)",
                          array->reader.path, i, (int)(*labels)[i], LABEL_MAXIMUM);
        else if ((size_t)(*labels)[i] >= *classes)
            *classes = (size_t)(*labels)[i] + 1;
    }
    piece_release(context, &piece);
    return status;
}

/* What y must be beside x. */
static reliht_status check_targets(const npy_array *x, const npy_array *y)
{
    if (y->rows != x->rows)
        return fail(x->reader.context, RELIHT_DATA, "%s has %zu rows and %s has %zu",
                    x->reader.path, x->rows, y->reader.path, y->rows);
    if (y->dimensions > 2)
        return file_malformed(&y->reader, 0, "targets of %zu dimensions; [n] or [n, k] is read",
                              y->dimensions);
    if (npy_is_integer(y) && y->columns > 1)
        return file_malformed(&y->reader, 0,
                              "%zu integers a row; class labels are one a row, real targets floats",
                              y->columns);
    return RELIHT_OK;
}

static reliht_status read_inputs(npy_array *x, bool raw, reliht_dataset *dataset)
{
    if (x->type != NPY_UINT8)
        return read_float_columns(x, dataset->x, dataset->stride);
    dataset->scale = raw ? 1.0f : 1.0f / 255.0f;
    dataset->preparation.kind = PREPROCESSING_PIXELS;
    dataset->preparation.scale = dataset->scale;
    return npy_read_bytes(x, 0, x->rows, dataset->x);
}

/* Both arrays are open; `y` is NULL without targets. */
static reliht_status read_dataset(npy_array *x, npy_array *y, bool raw, reliht_dataset **dataset)
{
    reliht_context *context = x->reader.context;
    const bool labelled = y && npy_is_integer(y);
    int32_t *labels = NULL;
    reliht_dataset *made = NULL;
    size_t classes = 0;
    reliht_status status = y ? check_targets(x, y) : RELIHT_OK;
    if (!status && labelled)
        status = read_labels(y, &labels, &classes);
    if (status)
        goto done;
    size_t outputs = classes > 2 ? classes : y ? y->columns : 1;
    status = dataset_allocate(context, x->rows, x->columns,
                              x->type == NPY_UINT8 ? ELEMENT_BYTE : ELEMENT_FLOAT, outputs,
                              classes <= 2, classes, &made);
    if (!status)
        status = read_inputs(x, raw, made);
    if (!status && y && !labelled)
        status = read_float_columns(y, made->y, made->stride);
    if (!status && labelled)
        memcpy(made->labels, labels, x->rows * sizeof *labels);
    if (!status)
        status = dataset_finish(made);
    if (status)
        goto done;
    *dataset = made;
    made = NULL;
done:
    gate_release(context, labels);
    reliht_dataset_destroy(made);
    return status;
}

reliht_status reliht_dataset_read_npy(reliht_context *context, const char *x_path,
                                      const char *y_path, bool raw, reliht_dataset **dataset)
{
    *dataset = NULL;
    if (!x_path)
        return fail(context, RELIHT_ARGUMENT, "npy: the path of x is needed");
    npy_array x, y;
    reliht_status status = npy_open(context, x_path, &x);
    if (status)
        return status;
    if (x.type == NPY_INT32 || x.type == NPY_INT64)
        status = fail(context, RELIHT_UNSUPPORTED,
                      "%s: inputs of type int; float32, float64 and uint8 are read: convert the "
                      "array with .astype('<f4')",
                      x_path);
    if (!status && y_path) {
        status = npy_open(context, y_path, &y);
        if (!status) {
            status = read_dataset(&x, &y, raw, dataset);
            npy_close(&y);
        }
    } else if (!status) {
        status = read_dataset(&x, NULL, raw, dataset);
    }
    npy_close(&x);
    return status;
}

/* ---- generators */

/* Counts the nonzeros of H (matrix NULL) or appends them. */
static reliht_status walk_nonzeros(npy_array *array, array_piece *piece, size_t *nnz,
                                   sparse *matrix)
{
    reliht_context *context = array->reader.context;
    *nnz = 0;
    for (size_t first = 0; first < array->rows; first += piece->rows) {
        size_t elements = piece_count(array, piece, first) * array->columns;
        reliht_status status = npy_read_floats(array, first, piece_count(array, piece, first),
                                               piece->bytes, piece->values);
        if (status)
            return status;
        for (size_t i = 0; i < elements; i++) {
            float value = piece->values[i];
            if (value == 0)
                continue;
            size_t row = first + i / array->columns, column = i % array->columns;
            if (!isfinite(value))
                return fail(context, RELIHT_DATA,
                            "%s: row %zu, column %zu (from 0): %g is not a finite number",
                            array->reader.path, row, column, (double)value);
            /* The file may have changed since it was counted. */
            if (matrix && *nnz == matrix->capacity)
                return fail(context, RELIHT_IO, "%s: changed while it was read",
                            array->reader.path);
            if (matrix)
                sparse_append(matrix, (uint32_t)row, (uint32_t)column, value);
            ++*nnz;
        }
    }
    return RELIHT_OK;
}

static reliht_status read_generators(npy_array *array, array_piece *piece, reliht_model *model)
{
    reliht_context *context = array->reader.context;
    size_t nnz;
    reliht_status status = walk_nonzeros(array, piece, &nnz, NULL);
    if (!status && nnz > RELIHT_MAX_DIMENSION)
        return fail(context, RELIHT_DATA, "%s: %zu nonzeros; at most 2^31 - 1 are possible",
                    array->reader.path, nnz);
    if (!status)
        status = sparse_create(context, &model->hidden[0], array->rows, array->columns, nnz);
    if (status)
        return status;
    model->layers = 1;
    status = walk_nonzeros(array, piece, &nnz, &model->hidden[0]);
    return status ? status : model_describe(model, "generators", 0, nnz);
}

reliht_status reliht_generators_read_npy(reliht_context *context, const char *path,
                                         reliht_model **generators)
{
    *generators = NULL;
    if (!path)
        return fail(context, RELIHT_ARGUMENT, "npy: the path of the generators is needed");
    npy_array array;
    reliht_status status = npy_open(context, path, &array);
    if (status)
        return status;
    array_piece piece = {0};
    reliht_model *model = NULL;
    if (array.dimensions != 2)
        status = file_malformed(&array.reader, 0, "generators are [hidden, inputs], not %zu-d",
                                array.dimensions);
    if (!status)
        status = piece_allocate(&array, true, &piece);
    if (!status)
        status = model_create(context, RELIHT_FUSED, array.columns, 1, false, &model);
    if (!status)
        status = read_generators(&array, &piece, model);
    if (status)
        reliht_model_destroy(model);
    else
        *generators = model;
    piece_release(context, &piece);
    npy_close(&array);
    return status;
}
