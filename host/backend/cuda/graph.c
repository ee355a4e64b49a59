/* Captured graphs: what a kind of step queues is recorded once and launched as one from then on. */
#include "backend/cuda/cuda.h"

/* Ends a capture that went well until now; its graph becomes an executable one. */
static reliht_status end_capture(cuda_backend *self, cudaGraphExec_t *out)
{
    cudaGraph_t graph = NULL;
    reliht_status status = CUDA_CALL(self, cudaStreamEndCapture, self->stream, &graph);
    if (!status)
        status = CUDA_CALL(self, cudaGraphInstantiate, out, graph, 0);
    if (graph)
        cudaGraphDestroy(graph);
    return status;
}

/* Gives up a capture in which something failed: that is what the user is told. */
static void abandon_capture(cuda_backend *self)
{
    cudaGraph_t graph = NULL;
    cudaStreamEndCapture(self->stream, &graph);
    if (graph)
        cudaGraphDestroy(graph);
    cudaGetLastError();
}

reliht_status graph_run(cuda_backend *self, graph_cache *cache, uint64_t key,
                        reliht_status (*record)(void *user), void *user)
{
    for (size_t i = 0; i < cache->count; i++)
        if (cache->key[i] == key)
            return CUDA_CALL(self, cudaGraphLaunch, cache->graph[i], self->stream);
    if (cache->count == GRAPHS) /* more kinds than any solver has: this one isn't kept */
        return record(user);
    reliht_status status =
        CUDA_CALL(self, cudaStreamBeginCapture, self->stream, cudaStreamCaptureModeThreadLocal);
    if (status)
        return status;
    status = record(user);
    if (status) {
        abandon_capture(self);
        return status;
    }
    cudaGraphExec_t made;
    status = end_capture(self, &made);
    if (status)
        return status;
    cache->key[cache->count] = key;
    cache->graph[cache->count++] = made;
    return CUDA_CALL(self, cudaGraphLaunch, made, self->stream);
}

void graph_release(graph_cache *cache)
{
    for (size_t i = 0; i < cache->count; i++)
        cudaGraphExecDestroy(cache->graph[i]);
    cache->count = 0;
}
