/* A model as a safetensors file: 8 bytes header length (little endian), a JSON header, tensors.
 *
 *     layers.L.crow_indices  I64 [hidden + 1]   CSR by neuron, as torch.sparse_csr_tensor takes it
 *     layers.L.col_indices   I64 [nnz]
 *     layers.L.values        F32 [nnz]
 *     output.*               the same, [hidden, outputs]; factored models
 *     signs                  I8  [hidden of the last layer], +1 or -1; fused models
 *
 * The header's __metadata__ is the description of the model (metadata.h). Tensors lie in the order
 * of falling element size, without gaps, so each is aligned. Whatever is as long as `hidden` is
 * written and read in pieces and never held. */
#ifndef RELIHT_MODEL_SAFETENSORS_H
#define RELIHT_MODEL_SAFETENSORS_H

#include "model/model.h"

#define HEADER_LENGTH_BYTES 8u
/* A header of 64 layers takes less than 30 kB; more than this is not one of ours. */
#define HEADER_BYTES_MAXIMUM ((uint64_t)1 << 20)

#define TENSORS_MAXIMUM (3 * (MODEL_LAYERS_MAXIMUM + 1) + 1)
#define TENSOR_NAME_BYTES 48u
#define TENSOR_PIECE 1024u /* elements converted at once */

typedef enum tensor_part {
    TENSOR_CROW_INDICES,
    TENSOR_COL_INDICES,
    TENSOR_VALUES,
    TENSOR_SIGNS
} tensor_part;

typedef struct tensor {
    char name[TENSOR_NAME_BYTES];
    tensor_part part;
    size_t layer;        /* == layers: the output weights */
    uint64_t count;      /* elements */
    uint64_t begin, end; /* bytes, from the end of the header */
} tensor;

const char *tensor_dtype(tensor_part part);
size_t tensor_element_bytes(tensor_part part);

/* Names, parts and layers of the tensors of such a model, in their order in the file. Returns their
 * number, at most TENSORS_MAXIMUM. */
size_t tensor_list(reliht_model_kind kind, size_t layers, tensor *tensors);

#endif
