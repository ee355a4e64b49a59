// Every call to CUDA, cuBLAS and cuSPARSE fails once, and every allocation of the host: a clean
// error that names the call, and nothing is left behind.
#include "cuda/device.h"
#include "cuda/shim.h"
#include "parity/parity.h"
#include "prediction.h"

#include <cuda_runtime.h>

#include <functional>
#include <set>

using namespace models;
using namespace prediction;

#ifdef __x86_64__

namespace
{

// Runs `body` with call 0, 1, 2, ... failing, until a run needs fewer. The first run is made
// without failures, so that what CUDA itself sets up once does not count.
void fail_each_call(const std::function<reliht_status(reliht_context *)> &body)
{
    PARITY_NEEDS_BACKEND();
    std::set<std::string> seen;
    size_t free_before = 0, free_after = 0, all = 0;
    for (size_t number = SIZE_MAX;; number++) {
        support::FailingAllocator allocator;
        cudaMemGetInfo(&free_before, &all);
        shim::arm(number);
        reliht_status status = RELIHT_BACKEND;
        std::string message = "no context";
        {
            parity::Context context(1, &allocator);
            if (context.handle) {
                status = body(context.handle);
                message = context.message();
                reliht_memory held;
                reliht_context_device_memory(context, &held, nullptr);
                EXPECT_EQ(held.total, 0u)
                    << "device memory is held when " << shim::failed() << " fails";
            }
        }
        std::string failed = shim::failed();
        shim::arm(SIZE_MAX);
        cudaMemGetInfo(&free_after, &all);
        EXPECT_EQ(allocator.live, 0u) << "leak when " << failed << " fails";
        if (number == SIZE_MAX) // the first run also loads the kernels
            free_before = free_after;
        EXPECT_EQ(free_after, free_before) << "leak on the device when " << failed << " fails";
        if (number != SIZE_MAX && failed.empty()) {
            EXPECT_EQ(status, RELIHT_OK) << message;
            break;
        }
        if (failed.empty()) {
            ASSERT_EQ(status, RELIHT_OK) << message;
            continue;
        }
        if (status == RELIHT_OK && failed == "cudaStreamSynchronize")
            continue; // the wait before memory is released, which has nobody to tell
        seen.insert(failed);
        ASSERT_NE(status, RELIHT_OK) << failed << " failed unnoticed, call " << number;
        EXPECT_TRUE(status == RELIHT_BACKEND || status == RELIHT_MEMORY) << status;
        EXPECT_FALSE(message.empty());
        ASSERT_LT(number, 5000u);
    }
    EXPECT_GT(seen.size(), 8u);
    EXPECT_EQ(seen.count("cudaStreamSynchronize"), 1u);
}

} // namespace

TEST(CudaFaults, OpeningTheBackend)
{
    PARITY_NEEDS_BACKEND();
    for (size_t number = 0;; number++) {
        support::FailingAllocator allocator;
        shim::arm(number);
        reliht_context_options options;
        reliht_context_options_default(&options);
        options.backend = RELIHT_BACKEND_CUDA;
        options.allocator = allocator.hooks();
        reliht_context *context;
        char message[512];
        reliht_status status = reliht_context_create(&options, &context, message, sizeof message);
        std::string failed = shim::failed();
        shim::arm(SIZE_MAX);
        if (failed.empty()) {
            EXPECT_EQ(status, RELIHT_OK) << message;
            reliht_context_destroy(context);
            break;
        }
        EXPECT_EQ(status, RELIHT_BACKEND) << failed;
        EXPECT_STRNE(message, "");
        EXPECT_EQ(context, nullptr);
        EXPECT_EQ(allocator.live, 0u) << failed;
    }
}

TEST(CudaFaults, Sensing)
{
    fail_each_call([](reliht_context *context) {
        const backend_operations &on = *context->backend->operations;
        sparse truth = {}, now = {};
        sensing *self = nullptr;
        reliht_status status = sparse_create(context, &truth, 1, 40, 2);
        if (!status)
            status = sparse_create(context, &now, 1, 40, 2);
        if (!status) {
            sparse_append(&truth, 0, 3, 1);
            sparse_append(&truth, 0, 30, -2);
            const sensing_problem problem = {40, 20, 2, 1};
            status = on.sensing_create(context->backend, &problem, &self);
        }
        step_report report;
        if (!status)
            status = on.sensing_set_targets(self, &truth);
        for (int step = 0; !status && step < 2; step++) {
            status = on.sensing_step(self, 2);
            if (!status)
                status = on.sensing_report(self, &report);
        }
        if (!status)
            status = on.sensing_get_weights(self, &now);
        on.sensing_destroy(self);
        sparse_destroy(context, &truth);
        sparse_destroy(context, &now);
        return status;
    });
}

TEST(CudaFaults, Fused)
{
    fail_each_call([](reliht_context *context) {
        const backend_operations &on = *context->backend->operations;
        Data data(context, 70, 6, ELEMENT_FLOAT, 1);
        sparse given = {}, now = {};
        batch *rows = nullptr;
        fused *self = nullptr;
        reliht_status status = sparse_create(context, &given, 2, 6, 2);
        if (!status)
            status = sparse_create(context, &now, 9, 6, 4);
        if (!status) {
            sparse_append(&given, 0, 2, 1);
            sparse_append(&given, 1, 5, -1);
            fused_problem problem = {};
            problem.hidden = 9;
            problem.inputs = 6;
            problem.nnz = 4;
            problem.samples = 70;
            problem.generator = RELIHT_GENERATOR_SPARSE;
            problem.given = &given;
            status = on.fused_create(context->backend, &problem, &self);
        }
        if (!status)
            status = on.batch_create(context->backend, &data.set, false, 70, &rows);
        if (!status)
            status = on.batch_load(rows, nullptr, 70);
        if (!status)
            status = on.fused_set_weights(self, &now);
        if (!status)
            status = on.fused_begin(self, rows, PATTERNS_DRAWN);
        if (!status)
            status = on.fused_sweep(self, rows, PATTERNS_DRAWN);
        if (!status)
            status = on.fused_refit(self, rows, 1);
        step_report report;
        if (!status)
            status = on.fused_report(self, &report);
        if (!status)
            status = on.fused_get_weights(self, &now);
        std::vector<float> numbers(70 * 6);
        if (!status)
            status = on.fused_gradients(self, rows, &now, 0, now.live, numbers.data());
        if (!status)
            status = on.fused_product(self, rows, now.value, numbers.data(), nullptr, nullptr);
        if (!status)
            status = on.fused_read(self, numbers.data(), nullptr, nullptr);
        on.fused_destroy(self);
        on.batch_destroy(rows);
        sparse_destroy(context, &given);
        sparse_destroy(context, &now);
        return status;
    });
}

TEST(CudaFaults, Prediction)
{
    for (element_type element : {ELEMENT_FLOAT, ELEMENT_BYTE})
        fail_each_call([element](reliht_context *context) {
            Data data(context, 70, 11, element, 5);
            reliht_model *model;
            reliht_status status = make_model(context, shapes().back(), 0.5, 3, &model);
            std::vector<float> y(70 * 5);
            if (!status)
                status = reliht_model_predict(context, model, &data.set, y.data());
            reliht_model_destroy(model);
            return status;
        });
}

TEST(CudaFaults, Embedding)
{
    fail_each_call([](reliht_context *context) {
        Data data(context, 70, 7, ELEMENT_BYTE, 1);
        reliht_model *model;
        reliht_status status = make_model(context, shapes()[1], 0.5, 3, &model);
        reliht_dataset *embedding = nullptr;
        if (!status)
            status = context->backend->operations->embed(context->backend, &model->hidden[0], false,
                                                         &data.set, &embedding);
        reliht_dataset_destroy(embedding);
        reliht_model_destroy(model);
        return status;
    });
}

TEST(CudaFaults, Batches)
{
    for (element_type element : {ELEMENT_FLOAT, ELEMENT_BYTE})
        for (size_t capacity : {40u, 200u})
            fail_each_call([element, capacity](reliht_context *context) {
                const backend_operations &on = *context->backend->operations;
                Data data(context, 100, 7, element, 2);
                data.label(2);
                batch *self;
                reliht_status status =
                    on.batch_create(context->backend, &data.set, true, capacity, &self);
                const uint32_t rows[] = {5, 99, 0, 7};
                for (int load = 0; !status && load < 2; load++) {
                    const uint32_t *chosen = capacity < 100 ? rows : nullptr;
                    status = on.batch_load(self, chosen, 4);
                    if (!status && chosen)
                        status = on.batch_stage(self, chosen + 1, 2);
                    if (!status && chosen)
                        status = on.batch_load(self, chosen + 1, 2);
                }
                on.batch_destroy(self);
                return status;
            });
}

TEST(CudaFaults, Dense)
{
    fail_each_call([](reliht_context *context) {
        const backend_operations &on = *context->backend->operations;
        Data data(context, 20, 5, ELEMENT_FLOAT, 2);
        dense_problem problem = {};
        problem.inputs = 5;
        problem.layers = 1;
        problem.hidden[0] = 3;
        problem.outputs = 2;
        problem.samples = 20;
        problem.learning_rate = 1e-3;
        problem.epsilon = 1e-8;
        batch *rows = nullptr;
        dense_network *self = nullptr;
        sparse weights[2] = {};
        reliht_status status = on.batch_create(context->backend, &data.set, false, 20, &rows);
        if (!status)
            status = on.batch_load(rows, nullptr, 20);
        if (!status)
            status = on.dense_create(context->backend, &problem, &self);
        if (!status)
            status = sparse_create(context, &weights[0], 3, 5, 15);
        if (!status)
            status = sparse_create(context, &weights[1], 3, 2, 6);
        if (!status)
            status = on.dense_step(self, rows);
        dense_report report;
        if (!status)
            status = on.dense_report(self, &report);
        if (!status)
            status = on.dense_prune(self, 9);
        if (!status)
            status = on.dense_rewind(self);
        float outputs[40];
        if (!status)
            status = on.dense_predict(self, rows, outputs);
        if (!status)
            status = on.dense_get_weights(self, weights);
        on.dense_destroy(self);
        on.batch_destroy(rows);
        sparse_destroy(context, &weights[0]);
        sparse_destroy(context, &weights[1]);
        return status;
    });
}

TEST(CudaFaults, Factored)
{
    for (reliht_importance importance :
         {RELIHT_IMPORTANCE_SKETCH, RELIHT_IMPORTANCE_SKETCH_PUBLISHED})
        fail_each_call([importance](reliht_context *context) {
            const backend_operations &on = *context->backend->operations;
            Data data(context, 20, 5, ELEMENT_FLOAT, 2);
            factored_problem problem = {};
            problem.hidden = 3;
            problem.inputs = 5;
            problem.outputs = 2;
            problem.nnz = 8;
            problem.samples = 20;
            problem.importance = importance;
            problem.input_scale = problem.target_scale = 1;
            batch *rows = nullptr;
            factored *self = nullptr;
            sparse hidden = {}, output = {};
            factored_report report;
            reliht_status status = on.batch_create(context->backend, &data.set, false, 20, &rows);
            if (!status)
                status = on.batch_load(rows, nullptr, 20);
            if (!status)
                status = on.factored_create(context->backend, &problem, &self);
            if (!status)
                status = sparse_create(context, &hidden, 3, 5, 8);
            if (!status)
                status = sparse_create(context, &output, 3, 2, 8);
            factored_step_options options = {PATTERNS_WEIGHTS, true, 1, false};
            if (!status)
                status = on.factored_step(self, rows, &options);
            if (!status)
                status = on.factored_report(self, &report);
            if (!status)
                status = on.factored_get_weights(self, &hidden, &output);
            if (!status)
                status = on.factored_set_weights(self, &hidden, &output);
            float gradient[8];
            double loss;
            if (!status)
                status = on.factored_evaluate(self, rows, &loss, gradient);
            if (!status && importance == RELIHT_IMPORTANCE_SKETCH)
                status = on.factored_candidates(self, rows, 2, &hidden, &output);
            on.factored_destroy(self);
            on.batch_destroy(rows);
            sparse_destroy(context, &hidden);
            sparse_destroy(context, &output);
            return status;
        });
}

#endif
