// Provoke one harmless application fault on GPU 0, for tests/device/acceptance.sh.
//   nvcc -o provoke provoke.cu && ./provoke write|misaligned|trap|shared
// write: an unmapped address (Xid 31). misaligned: Xid 13. trap: Xid 43. shared: outside shared memory (13 and 43).
#include <cstdio>
#include <cstring>

__global__ void write_unmapped() { *reinterpret_cast<volatile int *>(0x835f7fe00000ull) = 1; }
__global__ void write_misaligned(char *at) { *reinterpret_cast<volatile int *>(at + 1) = 1; }
__global__ void trap() { asm("trap;"); }
__global__ void write_beyond_shared() { asm volatile("st.shared.u32 [%0], %1;" ::"r"(0x1000000), "r"(1)); }

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    char *buffer = nullptr;
    cudaMalloc(&buffer, 4096);
    if (!strcmp(what, "write")) write_unmapped<<<1, 1>>>();
    else if (!strcmp(what, "misaligned")) write_misaligned<<<1, 1>>>(buffer);
    else if (!strcmp(what, "trap")) trap<<<1, 1>>>();
    else if (!strcmp(what, "shared")) write_beyond_shared<<<1, 1>>>();
    else return fprintf(stderr, "provoke write|misaligned|trap|shared\n"), 2;
    cudaError_t error = cudaDeviceSynchronize();
    printf("%s: %s\n", what, cudaGetErrorString(error));
    return error == cudaSuccess;
}
