// Provoke one harmless application fault on GPU 0, for tests/device/acceptance.sh.
//   nvcc -o provoke provoke.cu && ./provoke write|misaligned|trap|range|local
// write: an unmapped address (Xid 31). misaligned, and range (beyond the virtual address space): Xid 13.
// trap: Xid 43. local (beyond local memory): Xid 13, and the driver ends the process with 43.
#include <cstdio>
#include <cstring>

__global__ void write_unmapped() { *reinterpret_cast<volatile int *>(0x835f7fe00000ull) = 1; }
__global__ void write_misaligned(char *at) { *reinterpret_cast<volatile int *>(at + 1) = 1; }
__global__ void trap() { asm("trap;"); }
__global__ void write_out_of_range() { *reinterpret_cast<volatile int *>(0x1000000000000000ull) = 1; }
__global__ void write_beyond_local(int far) {
    volatile int local[64];
    local[far] = 1;
    printf("%d", local[far / 2]);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    char *buffer = nullptr;
    cudaMalloc(&buffer, 4096);
    if (!strcmp(what, "write")) write_unmapped<<<1, 1>>>();
    else if (!strcmp(what, "misaligned")) write_misaligned<<<1, 1>>>(buffer);
    else if (!strcmp(what, "trap")) trap<<<1, 1>>>();
    else if (!strcmp(what, "local")) write_beyond_local<<<1, 1>>>(1 << 20);
    else if (!strcmp(what, "range")) write_out_of_range<<<1, 1>>>();
    else return fprintf(stderr, "provoke write|misaligned|trap|range|local\n"), 2;
    cudaError_t error = cudaDeviceSynchronize();
    printf("%s: %s\n", what, cudaGetErrorString(error));
    return error == cudaSuccess;
}
