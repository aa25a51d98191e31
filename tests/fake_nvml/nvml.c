/* A libnvidia-ml.so.1 that does what a text file says. FAKE_NVML names the file; a line of it is

       gpus 8
       init_ms 10
       field:160 GPU|* value 1        one field of nvmlDeviceGetFieldValues
       FUNCTION GPU|* error 15        an nvmlReturn_t
       FUNCTION GPU|* value 91        the number that the function gives
       FUNCTION GPU|* text NAME       the string that it gives
       FUNCTION GPU|* hang            sleeps for ever, SIGTERM ignored
       FUNCTION GPU|* lock            the same, holding the lock that every other function takes
       FUNCTION GPU|* crash           SIGSEGV
       FUNCTION GPU|* exit            _exit(7)
       FUNCTION GPU|* garbage         bytes that are no text, numbers that are no count
       FUNCTION GPU|* slow            takes 300 ms

   FUNCTION may be *, any function on a GPU. -DOLD leaves out what came with newer drivers.
   Layouts and numbers: https://docs.nvidia.com/deploy/nvml-api/ */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned int u32;
typedef unsigned long long u64;
typedef struct gpu { int index; } *device;

enum { OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, VERSION_MISMATCH = 25 };

static struct rule { char function[64]; int gpu; char what[16]; char value[96]; } rules[256];
static int count_of_rules, count_of_gpus = 8, init_ms, loaded;
static struct gpu gpus[64];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void load(void)
{
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[256], gpu[16];
    if (loaded++ || !file) return;
    while (fgets(line, sizeof line, file)) {
        struct rule *r = &rules[count_of_rules];
        if (sscanf(line, "gpus %d", &count_of_gpus) == 1 || sscanf(line, "init_ms %d", &init_ms) == 1) continue;
        r->value[0] = 0;
        if (sscanf(line, "%63s %15s %15s %95[^\n]", r->function, gpu, r->what, r->value) < 3) continue;
        r->gpu = gpu[0] == '*' ? -1 : atoi(gpu);
        if (count_of_rules < 255) count_of_rules++;
    }
    fclose(file);
    for (int i = 0; i < 64; i++) gpus[i].index = i;
}

static struct rule *rule_of(const char *function, int gpu)
{
    for (int i = 0; i < count_of_rules; i++) {
        struct rule *r = &rules[i];
        int named = !strcmp(r->function, function) || (r->function[0] == '*' && gpu >= 0 && !strchr(function, ':'));
        if (named && (r->gpu == -1 || r->gpu == gpu)) return r;
    }
    return NULL;
}

/* What the file says of this call; -1: nothing, go on. */
static int told(const char *function, int gpu, struct rule **found)
{
    struct rule *r = *found = rule_of(function, gpu);
    pthread_mutex_lock(&lock);
    if (!r || strcmp(r->what, "lock")) pthread_mutex_unlock(&lock);
    if (!r) return -1;
    if (!strcmp(r->what, "error")) return atoi(r->value);
    if (!strcmp(r->what, "crash")) *(volatile int *)0 = 1;
    if (!strcmp(r->what, "exit")) _exit(7);
    if (!strcmp(r->what, "slow")) usleep(300000);
    if (!strcmp(r->what, "hang") || !strcmp(r->what, "lock")) {
        signal(SIGTERM, SIG_IGN);
        for (;;) pause();
    }
    return -1;
}

static int is(struct rule *r, const char *what) { return r && !strcmp(r->what, what); }
static u64 number(struct rule *r, u64 otherwise)
{
    return is(r, "value") ? strtoull(r->value, NULL, 0) : is(r, "garbage") ? ~0ULL : otherwise;
}
static void put(char *out, u32 size, struct rule *r, const char *otherwise)
{
    if (is(r, "garbage")) { memset(out, 0xfe, size); out[size - 1] = 0; }
    else snprintf(out, size, "%s", is(r, "text") ? r->value : otherwise);
}

#define BEGIN(gpu) struct rule *r; int code = told(__func__, gpu, &r); if (code >= 0) return code
#define NUMBER(name, type, otherwise) \
    int name(device d, type *out) { BEGIN(d->index); *out = (type)number(r, otherwise); return OK; }
#define NUMBER_OF(name, of, type, otherwise) \
    int name(device d, of, type *out) { BEGIN(d->index); *out = (type)number(r, otherwise); return OK; }
#define TEXT(name, otherwise) \
    int name(device d, char *out, u32 size) { BEGIN(d->index); put(out, size, r, otherwise); return OK; }
#define SYSTEM_TEXT(name, otherwise) \
    int name(char *out, u32 size) { BEGIN(-1); put(out, size, r, otherwise); return OK; }

int nvmlInitWithFlags(u32 flags)
{
    load();
    struct rule *r; int code = told("nvmlInit", -1, &r);
    (void)flags;
    if (code >= 0) return code;
    pthread_mutex_lock(&lock);
    usleep(init_ms * 1000);
    init_ms = 0;
    pthread_mutex_unlock(&lock);
    return OK;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code)
{
    static char text[32];
    snprintf(text, sizeof text, "error number %d", code);
    return text;
}
SYSTEM_TEXT(nvmlSystemGetDriverVersion, "580.159.04")
SYSTEM_TEXT(nvmlSystemGetNVMLVersion, "13.580.159.04")
int nvmlSystemGetCudaDriverVersion_v2(int *out) { BEGIN(-1); *out = (int)number(r, 13000); return OK; }
int nvmlDeviceGetCount_v2(u32 *out) { BEGIN(-1); *out = (u32)number(r, count_of_gpus); return OK; }
int nvmlDeviceGetHandleByIndex_v2(u32 index, device *out)
{
    if (index >= (u32)count_of_gpus) return INVALID_ARGUMENT;
    BEGIN((int)index);
    *out = &gpus[index];
    return OK;
}
int nvmlDeviceGetIndex(device d, u32 *out) { BEGIN(d->index); *out = d->index; return OK; }

TEXT(nvmlDeviceGetName, "NVIDIA H200")
TEXT(nvmlDeviceGetVbiosVersion, "96.00.a5.00.1a")
TEXT(nvmlDeviceGetSerial, "1650000000000")
TEXT(nvmlDeviceGetBoardPartNumber, "692-2G520-0282-001")
TEXT(nvmlDeviceGetInforomImageVersion, "G520.0282.00.04")
int nvmlDeviceGetUUID(device d, char *out, u32 size)
{
    char own[64];
    BEGIN(d->index);
    snprintf(own, sizeof own, "GPU-%08x-0000-4000-8000-00000000000%x", 0xfa150000 + d->index, d->index & 15);
    put(out, size, r, own);
    return OK;
}
struct pci { char legacy[16]; u32 domain, bus, device, id, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(device d, struct pci *out)
{
    BEGIN(d->index);
    memset(out, 0, sizeof *out);
    out->bus = 0x18 + d->index * 0x10;
    out->id = 0x233510de;
    out->subsystem = 0x18be10de;
    snprintf(out->legacy, sizeof out->legacy, "0000:%02X:00.0", out->bus);
    if (is(r, "garbage")) memset(out->bus_id, 0xfe, sizeof out->bus_id);
    else snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", out->bus);
    return OK;
}
struct memory { u64 total, free, used; };
int nvmlDeviceGetMemoryInfo(device d, struct memory *out)
{
    BEGIN(d->index);
    out->total = 150754820096ULL;
    out->used = number(r, 644939776ULL);
    out->free = out->total - out->used;
    return OK;
}
struct memory_v2 { u32 version; u64 total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(device d, struct memory_v2 *out)
{
    BEGIN(d->index);
    out->total = 150754820096ULL, out->reserved = 644939776ULL;
    out->used = number(r, 0);
    out->free = out->total - out->reserved - out->used;
    return OK;
}
int nvmlDeviceGetBAR1MemoryInfo(device d, struct memory *out)
{
    BEGIN(d->index);
    out->total = 274877906944ULL, out->free = 274876203008ULL, out->used = 1703936;
    return OK;
}
int nvmlDeviceGetUtilizationRates(device d, u32 *out) { BEGIN(d->index); out[0] = (u32)number(r, 0); out[1] = 0; return OK; }
int nvmlDeviceGetCudaComputeCapability(device d, int *major, int *minor) { BEGIN(d->index); *major = 9; *minor = 0; return OK; }
int nvmlDeviceGetEccMode(device d, u32 *now, u32 *pending) { BEGIN(d->index); *now = 1; *pending = (u32)number(r, 1); return OK; }
int nvmlDeviceGetMigMode(device d, u32 *now, u32 *pending) { BEGIN(d->index); *now = 0; *pending = (u32)number(r, 0); return OK; }
int nvmlDeviceGetPowerManagementLimitConstraints(device d, u32 *least, u32 *most) { BEGIN(d->index); *least = 200000; *most = 700000; return OK; }
int nvmlDeviceGetRemappedRows(device d, u32 *corrected, u32 *uncorrected, u32 *pending, u32 *failed)
{
    BEGIN(d->index);
    *corrected = *failed = 0;
    *uncorrected = *pending = (u32)number(r, 0);
    return OK;
}
NUMBER(nvmlDeviceGetMinorNumber, u32, d->index)
NUMBER(nvmlDeviceGetArchitecture, u32, 9)
NUMBER(nvmlDeviceGetBrand, u32, 14)
NUMBER(nvmlDeviceGetPowerUsage, u32, 75000)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, u32, 700000)
NUMBER(nvmlDeviceGetPowerManagementLimit, u32, 700000)
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, u32, 700000)
NUMBER(nvmlDeviceGetPersistenceMode, u32, 1)
NUMBER(nvmlDeviceGetComputeMode, u32, 0)
NUMBER(nvmlDeviceGetPerformanceState, u32, 0)
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, u32, 16)
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, u32, 5)
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, u32, 16)
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, u32, 5)
NUMBER(nvmlDeviceGetPcieReplayCounter, u32, 0)
NUMBER(nvmlDeviceGetModuleId, u32, d->index)
NUMBER_OF(nvmlDeviceGetTemperature, u32 sensor, u32, 34)
NUMBER_OF(nvmlDeviceGetTemperatureThreshold, u32 kind, u32, 87)
NUMBER_OF(nvmlDeviceGetClockInfo, u32 kind, u32, 1980)
NUMBER_OF(nvmlDeviceGetMaxClockInfo, u32 kind, u32, 1980)
int nvmlDeviceGetTotalEccErrors(device d, u32 type, u32 counter, u64 *out) { BEGIN(d->index); *out = number(r, 0); return OK; }
int nvmlDeviceGetMemoryErrorCounter(device d, u32 type, u32 counter, u32 place, u64 *out) { BEGIN(d->index); *out = number(r, 0); return OK; }
int nvmlDeviceGetRetiredPagesPendingStatus(device d, u32 *out) { BEGIN(d->index); return NOT_SUPPORTED; }
int nvmlDeviceGetP2PStatus(device a, device b, u32 kind, u32 *out) { BEGIN(a->index); *out = (u32)number(r, a == b); return OK; }
struct violation { u64 reference, violation; };
int nvmlDeviceGetViolationStatus(device d, u32 policy, struct violation *out)
{
    BEGIN(d->index);
    out->reference = 1763695300000000ULL;
    out->violation = number(r, 0);
    return OK;
}
struct process { u32 pid; u64 memory; u32 instance, compute; };
int nvmlDeviceGetComputeRunningProcesses_v3(device d, u32 *count, struct process *out)
{
    BEGIN(d->index);
    u32 held = (u32)number(r, 0);
    if (!out || *count < held) { *count = held; return held ? INSUFFICIENT_SIZE : OK; }
    for (u32 i = 0; i < held; i++) out[i] = (struct process){4000 + i, 1ULL << 30, ~0U, ~0U};
    *count = held;
    return OK;
}
struct field { u32 id, scope; long long stamp, latency; u32 type, code; u64 value; };
int nvmlDeviceGetFieldValues(device d, int count, struct field *out)
{
    BEGIN(d->index);
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "field:%u", out[i].id);
        struct rule *own = rule_of(name, d->index);
        int retired_pages = out[i].id >= 29 && out[i].id <= 31; /* this GPU remaps rows instead */
        out[i].type = is(r, "garbage") ? 77 : 3;
        out[i].code = is(own, "error") ? (u32)atoi(own->value) : retired_pages && !own ? NOT_SUPPORTED : OK;
        out[i].value = number(own, 0);
    }
    return OK;
}
#ifndef OLD
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, u64, 1)
NUMBER(nvmlDeviceGetSupportedClocksEventReasons, u64, 0x1ff)
TEXT(nvmlDeviceGetGspFirmwareVersion, "580.159.04")
struct temperature { u32 version, sensor; int value; };
int nvmlDeviceGetTemperatureV(device d, struct temperature *t) { BEGIN(d->index); t->value = (int)number(r, 34); return OK; }
int nvmlDeviceGetMarginTemperature(device d, struct temperature *t) { BEGIN(d->index); t->sensor = (u32)number(r, 52); return OK; }
struct sram { u32 version; u64 counts[11]; u32 exceeded; };
int nvmlDeviceGetSramEccErrorStatus(device d, struct sram *out)
{
    BEGIN(d->index);
    memset(out->counts, 0, sizeof out->counts);
    out->exceeded = (u32)number(r, 0);
    return OK;
}
struct fabric { u32 version; unsigned char cluster[16]; u32 status, clique; unsigned char state; u32 health; };
int nvmlDeviceGetGpuFabricInfoV(device d, struct fabric *out)
{
    BEGIN(d->index);
    if (out->version >> 24 != 2) return VERSION_MISMATCH; /* the third form came later */
    memset(out->cluster, 0, sizeof out->cluster);
    out->status = out->clique = out->health = 0;
    out->state = (unsigned char)number(r, 3);
    return OK;
}
struct platform { u32 version; char guid[16], chassis[16]; unsigned char slot, tray, host, peer, module; };
int nvmlDeviceGetPlatformInfo(device d, struct platform *out)
{
    BEGIN(d->index);
    memset(out->guid, 0xb8, sizeof out->guid);
    snprintf(out->chassis, sizeof out->chassis, "%.15s", is(r, "text") ? r->value : "1820325000013");
    out->slot = 3, out->tray = 1, out->host = 1, out->peer = 1, out->module = (unsigned char)(d->index + 1);
    return OK;
}
#endif
