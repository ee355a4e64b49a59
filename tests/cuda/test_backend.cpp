// Opening the backend, and its gate of device memory.
#include "cuda/device.h"
#include "parity/parity.h"

namespace
{

struct CudaBackend : testing::Test {
    void SetUp() override
    {
        PARITY_NEEDS_BACKEND();
        context = std::make_unique<parity::Context>();
        ASSERT_NE(context->handle, nullptr);
    }
    cuda_backend *cuda() const
    {
        return reinterpret_cast<cuda_backend *>(context->on());
    }
    reliht_memory device_memory() const
    {
        reliht_memory now;
        reliht_context_device_memory(*context, &now, nullptr);
        return now;
    }
    std::unique_ptr<parity::Context> context;
};

TEST_F(CudaBackend, SaysWhatItRunsOn)
{
    EXPECT_STREQ(reliht_context_backend(*context), "cuda");
    EXPECT_NE(std::string(reliht_context_backend_details(*context)).find("compute capability"),
              std::string::npos);
}

TEST_F(CudaBackend, CountsDeviceMemoryByCategory)
{
    device_block block = {};
    block.owner = cuda();
    float *weights, *pinned;
    device_want(&block, MEMORY_weights, 100, sizeof(float), &weights);
    device_want_pinned(&block, MEMORY_workspace, 10, sizeof(float), &pinned);
    reliht_memory host_before, host_now;
    reliht_context_memory(*context, &host_before, nullptr);
    ASSERT_EQ(device_obtain(&block, "a test", 1), RELIHT_OK);
    reliht_context_memory(*context, &host_now, nullptr);
    EXPECT_EQ(device_memory().weights, 400u);
    EXPECT_EQ(device_memory().total, 400u);
    EXPECT_EQ(host_now.workspace - host_before.workspace, 40u);
    EXPECT_EQ(pinned[9], 0.0f);
    float read[100];
    ASSERT_EQ(cuda_wait(cuda()), RELIHT_OK);
    ASSERT_EQ(cudaMemcpy(read, weights, sizeof read, cudaMemcpyDeviceToHost), cudaSuccess);
    for (float value : read)
        EXPECT_EQ(value, 0.0f);
    device_release(&block);
    EXPECT_EQ(device_memory().total, 0u);
    EXPECT_EQ(weights, nullptr);
}

TEST_F(CudaBackend, SaysHowManySamplesWouldFit)
{
    device_block block = {};
    block.owner = cuda();
    float *fixed, *samples;
    device_want(&block, MEMORY_weights, 1000, sizeof(float), &fixed);
    device_want_by_samples(&block, MEMORY_data, cuda()->memory / 1000, 2000, &samples);
    EXPECT_EQ(device_obtain(&block, "a batch", 1000), RELIHT_MEMORY);
    std::string message = context->message();
    EXPECT_NE(message.find("a batch needs"), std::string::npos) << message;
    EXPECT_NE(message.find("batches of at most"), std::string::npos) << message;
    EXPECT_EQ(device_memory().total, 0u);
}

TEST_F(CudaBackend, RefusesSizesThatOverflow)
{
    device_block block = {};
    block.owner = cuda();
    float *array;
    device_want(&block, MEMORY_weights, SIZE_MAX / 2, sizeof(float), &array);
    EXPECT_EQ(device_obtain(&block, "a test", 1), RELIHT_MEMORY);
    EXPECT_NE(context->message().find("larger than any memory"), std::string::npos);
}

} // namespace
