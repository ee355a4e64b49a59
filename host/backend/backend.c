/* Which backend a context computes on. The CUDA backend is a module, libreliht_cuda.so beside the
 * library: its libraries take 180 MB of memory as soon as they are loaded, so a program on a
 * machine without a GPU never loads them. */
#include "backend/backend.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#define MODULE "libreliht_cuda.so"

typedef reliht_status open_function(reliht_context *context, backend **out);
typedef void devices_function(reliht_device *devices, size_t capacity, size_t *count);

/* Whether it is worth looking for a GPU: a driver's device file (Linux, WSL, Tegra), or a CUDA
 * runtime that is in this process already. */
static bool gpu_is_likely(void)
{
    return access("/dev/nvidiactl", F_OK) == 0 || access("/dev/dxg", F_OK) == 0 ||
           access("/dev/nvhost-gpu", F_OK) == 0 || dlsym(RTLD_DEFAULT, "cudaGetDeviceCount");
}

/* A function of the module; *why says what is missing. The module is never closed: the CUDA runtime
 * does not take being unloaded. */
static void *find_in_module(const char *name, const char **why)
{
    void *module = dlopen(MODULE, RTLD_NOW | RTLD_LOCAL);
    void *symbol = module ? dlsym(module, name) : NULL;
    *why = symbol ? "" : dlerror();
    return symbol;
}

static reliht_status open_cuda(reliht_context *context, backend **out)
{
    *out = NULL;
    if (backend_cuda_open)
        return backend_cuda_open(context, out);
    const char *why;
    void *symbol = find_in_module("backend_cuda_open", &why);
    if (!symbol)
        return fail(context, RELIHT_BACKEND,
                    "backend cuda: this installation has no CUDA backend (%s); build with a CUDA "
                    "toolkit, or use backend cpu or auto",
                    why ? why : MODULE " is not usable");
    open_function *open;
    memcpy(&open, &symbol, sizeof open);
    return open(context, out);
}

void reliht_devices(reliht_device *devices, size_t capacity, size_t *count)
{
    *count = 0;
    devices_function *list = backend_cuda_devices;
    if (!list && gpu_is_likely()) {
        const char *why;
        void *symbol = find_in_module("backend_cuda_devices", &why);
        memcpy(&list, &symbol, sizeof list);
    }
    if (list)
        list(devices, capacity, count);
}

reliht_status backend_open(reliht_context *context, reliht_backend_kind kind)
{
    switch (kind) {
    case RELIHT_BACKEND_AUTO:
        if (gpu_is_likely() && open_cuda(context, &context->backend) == RELIHT_OK)
            return RELIHT_OK;
        return backend_cpu_open(context, &context->backend);
    case RELIHT_BACKEND_CPU:
        return backend_cpu_open(context, &context->backend);
    case RELIHT_BACKEND_CUDA:
        return open_cuda(context, &context->backend);
    }
    return fail(context, RELIHT_ARGUMENT, "backend %d is none of auto, cpu, cuda", (int)kind);
}

void backend_close(backend *self)
{
    if (self)
        self->operations->close(self);
}
