// Forward pass of the factored model: yhat = sum_j a_j w2_j^T over the neurons with weights, the
// residual R = d(loss)/d(yhat), the loss, and which inputs aren't zero in the whole batch.
//
// A block takes 32 samples, one a lane, and its warps every eighth neuron; the warps' outputs are
// added in order. The loss is added up piece by piece, in double.
#ifndef RELIHT_KERNELS_FACTORED_FORWARD_CUH
#define RELIHT_KERNELS_FACTORED_FORWARD_CUH

#include "kernels/factored_rows.cuh"

namespace reliht
{

constexpr unsigned FORWARD_OUTPUTS = 16; // held at a time

struct forward_scratch {
    float output[BLOCK_WARPS][FORWARD_OUTPUTS][WARP];
};

// The piece's outputs number first_output .. of this warp's neurons.
__device__ inline void forward_neurons(const device_factored &self, const factored_view &view,
                                       uint32_t first, uint32_t first_output,
                                       float (&output)[FORWARD_OUTPUTS][WARP])
{
    const device_sparse &list = self.now.list;
    for (unsigned o = 0; o < FORWARD_OUTPUTS; o++)
        output[o][lane_index()] = 0.0f;
    for (uint32_t j = warp_index(); j < view.hidden_live; j += BLOCK_WARPS) {
        uint32_t neuron = list.row[j], start = list.start[j];
        factored_row to = listed_row(list, view.live, output_row(self, neuron));
        if (!to.count)
            continue;
        const factored_row from = {ROW_LISTED, list.start[j + 1] - start, list.column + start,
                                   list.value + start};
        float activation[1];
        activate(self, view, from, neuron, first, 1, activation);
        for (uint32_t k = 0; k < to.count; k++) {
            uint32_t o = to.column[k] - first_output;
            if (o < FORWARD_OUTPUTS) {
                float &sum = output[o][lane_index()];
                sum = __fmaf_rn(to.value[k], activation[0], sum);
            }
        }
    }
}

// residual <- yhat of the piece.
__device__ inline void forward_outputs(const device_factored &self, const factored_view &view,
                                       uint32_t first, forward_scratch &scratch)
{
    for (uint32_t o = 0; o < self.outputs; o += FORWARD_OUTPUTS) {
        forward_neurons(self, view, first, o, scratch.output[warp_index()]);
        __syncthreads();
        for (uint32_t i = warp_index(); i < FORWARD_OUTPUTS && o + i < self.outputs;
             i += BLOCK_WARPS) {
            double sum = 0;
            for (unsigned w = 0; w < BLOCK_WARPS; w++)
                sum += scratch.output[w][i][lane_index()];
            self.residual[(size_t)(o + i) * view.batch.stride + first + lane_index()] = (float)sum;
        }
        __syncthreads();
    }
}

__device__ inline float target_of(const device_batch &batch, uint32_t output, uint32_t sample)
{
    if (batch.y)
        return batch.y[(size_t)output * batch.stride + sample];
    return batch.labels[sample] == (int32_t)output ? 1.0f : 0.0f;
}

// Residual of (1/2n) |yhat - y|^2 in place of yhat; returns |yhat - y|^2 of the sample.
__device__ inline double sample_squares(const device_factored &self, const device_batch &batch,
                                        uint32_t sample)
{
    double sum = 0, scale = 1.0 / (double)batch.samples;
    for (uint32_t o = 0; o < self.outputs; o++) {
        float &residual = self.residual[(size_t)o * batch.stride + sample];
        double difference = (double)residual - (double)target_of(batch, o, sample);
        sum += difference * difference;
        residual = (float)(difference * scale);
    }
    return sum;
}

// Residual (softmax(yhat) - y) / n in place of yhat; returns log(sum exp(yhat)) - yhat_y.
__device__ inline double sample_cross_entropy(const device_factored &self,
                                              const device_batch &batch, uint32_t sample)
{
    float *output = self.residual + sample;
    float largest = output[0], total = 0.0f;
    for (uint32_t o = 1; o < self.outputs; o++)
        largest = fmaxf(largest, output[(size_t)o * batch.stride]);
    double sum = 0;
    for (uint32_t o = 0; o < self.outputs; o++) {
        float &at = output[(size_t)o * batch.stride];
        float shifted = at - largest;
        sum -= (double)target_of(batch, o, sample) * (double)shifted;
        at = (float)exp((double)shifted);
        total += at;
    }
    float scale = 1.0f / (float)batch.samples;
    float factor = scale / total;
    for (uint32_t o = 0; o < self.outputs; o++) {
        float &at = output[(size_t)o * batch.stride];
        at = at * factor - scale * target_of(batch, o, sample);
    }
    return sum + log((double)total);
}

// The piece's residual and loss; samples past the batch get a zero residual.
__device__ inline void forward_loss(const device_factored &self, const factored_view &view,
                                    uint32_t piece)
{
    uint32_t sample = piece * WARP + lane_index();
    double loss = 0;
    if (sample < view.batch.samples)
        loss = self.classes ? sample_cross_entropy(self, view.batch, sample)
                            : sample_squares(self, view.batch, sample);
    else
        for (uint32_t o = 0; o < self.outputs; o++)
            self.residual[(size_t)o * view.batch.stride + sample] = 0.0f;
    loss = warp_sum(loss);
    if (lane_index() == 0)
        self.losses[piece] = loss;
}

// Residuals and losses of all pieces.
__device__ inline void forward_pieces(const device_factored &self, const factored_view &view,
                                      forward_scratch &scratch)
{
    uint32_t pieces = view.batch.stride / WARP;
    for (uint32_t piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
        forward_outputs(self, view, piece * WARP, scratch);
        if (warp_index() == 0)
            forward_loss(self, view, piece);
        __syncthreads();
    }
}

// Which inputs aren't zero in the whole batch: the others can't matter to it.
__device__ inline void flag_active_inputs(const device_factored &self, const device_batch &batch)
{
    for (uint32_t c = blockIdx.x * BLOCK_WARPS + warp_index(); c < self.inputs;
         c += gridDim.x * BLOCK_WARPS) {
        const float *x = batch.x + (size_t)c * batch.stride;
        bool active = false;
        for (uint32_t i = lane_index(); i < batch.stride && !active; i += WARP)
            active = __any_sync(ALL_LANES, x[i] != 0.0f);
        if (lane_index() == 0)
            self.active_flag[c] = active;
    }
}

// active <- the flagged inputs, ascending. By one block.
__device__ inline void list_active_inputs(const device_factored &self, uint32_t *scratch)
{
    uint32_t count = 0;
    for (uint32_t first = 0; first < self.inputs; first += BLOCK_THREADS) {
        uint32_t c = first + threadIdx.x, total;
        bool active = c < self.inputs && self.active_flag[c];
        uint32_t before = block_scan(active, scratch, total);
        if (active)
            self.active[count + before] = c;
        count += total;
    }
    if (threadIdx.x == 0)
        self.state->actives = count;
}

// The batch's loss from its pieces; whether it must be finite. By one block.
__device__ inline void add_losses(const device_factored &self, const factored_view &view,
                                  bool finite, double *scratch)
{
    double sum = 0;
    for (uint32_t piece = threadIdx.x; piece < view.batch.stride / WARP; piece += BLOCK_THREADS)
        sum += self.losses[piece];
    sum = block_sum(sum, scratch);
    double terms = (double)view.batch.samples * (self.classes ? 1.0 : (double)self.outputs);
    if (threadIdx.x)
        return;
    self.state->loss = sum / terms;
    if (finite && !isfinite(sum))
        self.state->failure = FACTORED_LOSS;
}

} // namespace reliht

#endif
