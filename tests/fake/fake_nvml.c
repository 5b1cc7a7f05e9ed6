/* fake_nvml.c - a libnvidia-ml that shows what FAKE_NVML asks for
 *
 *   whole   eight healthy H100 with NVLinks to two switches, at the PCI ids of oci-bm-h100.xml
 *   mig     the same, and GPU 1 split into 1g.10gb (slice 0) and 3g.40gb (slice 2)
 *   oldmig  as mig, by a driver whose slice names carry no profile
 *   sick    the same, and GPU 2 is lost, GPU 3 waits for a row remap, GPU 4 has no handle
 *   refuse  initialisation fails
 *   file    as whole; and what the file FAKE_NVML_FILE says, line by line, of one GPU each, as it is now:
 *             N busy PID | N memory MIB | N mode NUMBER | N mig | N failed | N lost
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GPUS = 8, SWITCHES = 2, LANES = 4, NOT_SUPPORTED = 3, NOT_FOUND = 6, GPU_LOST = 15 };

static const unsigned BUS[GPUS] = { 0x0f, 0x2d, 0x44, 0x5b, 0x89, 0xa8, 0xc0, 0xd8 };

/* A handle points at one of these; slice < 0 is a whole GPU. */
struct fake {
	int gpu, slice;
};
static struct fake handles[GPUS][4];

struct pci_info {
	char legacy[16];
	unsigned domain, bus, device, id, subsystem;
	char text[32];
};

struct process {
	unsigned pid;
	unsigned long long memory;
	unsigned gpu_instance, compute_instance;
};

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetCount_v2(unsigned *n);
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **ret);
int nvmlDeviceGetPciInfo_v3(void *dev, struct pci_info *ret);
int nvmlDeviceGetUUID(void *dev, char *ret, unsigned size);
int nvmlDeviceGetName(void *dev, char *ret, unsigned size);
int nvmlDeviceGetMemoryInfo(void *dev, unsigned long long ret[3]);
int nvmlDeviceGetMigMode(void *dev, unsigned *now, unsigned *pending);
int nvmlDeviceGetComputeMode(void *dev, unsigned *ret);
int nvmlDeviceGetComputeRunningProcesses_v3(void *dev, unsigned *n, struct process *list);
int nvmlDeviceGetMaxMigDeviceCount(void *dev, unsigned *n);
int nvmlDeviceGetMigDeviceHandleByIndex(void *dev, unsigned i, void **ret);
int nvmlDeviceGetAttributes_v2(void *dev, void *ret);
int nvmlDeviceGetMinorNumber(void *dev, unsigned *ret);
int nvmlDeviceGetGpuInstanceId(void *dev, unsigned *ret);
int nvmlDeviceGetComputeInstanceId(void *dev, unsigned *ret);
int nvmlDeviceGetNvLinkState(void *dev, unsigned link, unsigned *active);
int nvmlDeviceGetNvLinkVersion(void *dev, unsigned link, unsigned *version);
int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *dev, unsigned link, struct pci_info *ret);
int nvmlDeviceGetRemappedRows(void *dev, unsigned *c, unsigned *u, unsigned *pending, unsigned *failed);

static int mode(const char *name)
{
	const char *now = getenv("FAKE_NVML");

	return now && strcmp(now, name) == 0;
}

static int mig(void)
{
	return mode("mig") || mode("oldmig");
}

/* Does the file say `what` of this GPU? With a number in *ret_number if there is one. */
static int said(int gpu, const char *what, unsigned long long *ret_number)
{
	const char *path = getenv("FAKE_NVML_FILE");
	FILE *f = path && mode("file") ? fopen(path, "r") : NULL;
	char line[128], word[32];
	unsigned long long number;
	int n, found = 0;

	while (f && !found && fgets(line, sizeof line, f)) {
		number = 0;
		if (sscanf(line, "%d %31s %llu", &n, word, &number) >= 2 && n == gpu && !strcmp(word, what)) {
			found = 1;
			if (ret_number)
				*ret_number = number;
		}
	}
	if (f)
		fclose(f);
	return found;
}

int nvmlInit_v2(void)
{
	for (int g = 0; g < GPUS; g++)
		for (int s = 0; s < 4; s++)
			handles[g][s] = (struct fake){ g, s - 1 };
	return mode("refuse") ? 9 : 0;
}

int nvmlShutdown(void)
{
	return 0;
}

int nvmlDeviceGetCount_v2(unsigned *n)
{
	*n = GPUS;
	return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **ret)
{
	/* Enumerated from the last bus down: the order must not matter. */
	if ((mode("sick") && GPUS - 1 - i == 4) || said((int)(GPUS - 1 - i), "lost", NULL))
		return GPU_LOST;
	*ret = &handles[GPUS - 1 - i][0];
	return 0;
}

int nvmlDeviceGetPciInfo_v3(void *dev, struct pci_info *ret)
{
	*ret = (struct pci_info){ .bus = BUS[((struct fake *)dev)->gpu], .id = 0x233010de };
	return 0;
}

int nvmlDeviceGetUUID(void *dev, char *ret, unsigned size)
{
	const struct fake *f = dev;

	if (mode("sick") && f->gpu == 2)
		return GPU_LOST;
	if (f->slice >= 0)
		snprintf(ret, size, "MIG-0000000%d-1111-5222-8333-00000000000%d", f->gpu, f->slice);
	else
		snprintf(ret, size, "GPU-0000000%d-1111-2222-3333-444444444444", f->gpu);
	return 0;
}

int nvmlDeviceGetName(void *dev, char *ret, unsigned size)
{
	const struct fake *f = dev;
	const char *slice = "";

	if (f->slice >= 0 && mode("mig"))
		slice = f->slice == 0 ? " MIG 1g.10gb" : " MIG 3g.40gb";
	snprintf(ret, size, "NVIDIA H100 80GB HBM3%s", slice);
	return 0;
}

int nvmlDeviceGetMemoryInfo(void *dev, unsigned long long ret[3])
{
	const struct fake *f = dev;

	ret[0] = (f->slice < 0 ? 81559ULL : f->slice == 0 ? 9856ULL : 40320ULL) << 20;
	if (!said(f->gpu, "memory", &ret[2]))
		ret[2] = 0;
	ret[2] <<= 20;
	ret[1] = ret[0] - ret[2];
	return 0;
}

int nvmlDeviceGetComputeMode(void *dev, unsigned *ret)
{
	unsigned long long mode_now = 0;

	(void)said(((struct fake *)dev)->gpu, "mode", &mode_now);
	*ret = (unsigned)mode_now;
	return 0;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *dev, unsigned *n, struct process *list)
{
	unsigned long long pid;

	*n = 0;
	if (said(((struct fake *)dev)->gpu, "busy", &pid)) {
		list[0] = (struct process){ .pid = (unsigned)pid, .memory = 1 << 20 };
		*n = 1;
	}
	return 0;
}

int nvmlDeviceGetMigMode(void *dev, unsigned *now, unsigned *pending)
{
	*now = *pending = (mig() && ((struct fake *)dev)->gpu == 1) || said(((struct fake *)dev)->gpu, "mig", NULL);
	return 0;
}

int nvmlDeviceGetMaxMigDeviceCount(void *dev, unsigned *n)
{
	(void)dev;
	*n = 7;
	return 0;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *dev, unsigned i, void **ret)
{
	if (i != 0 && i != 2)
		return NOT_FOUND;
	*ret = &handles[((struct fake *)dev)->gpu][i + 1];
	return 0;
}

int nvmlDeviceGetAttributes_v2(void *dev, void *ret)
{
	const struct fake *f = dev;
	struct {
		unsigned counts[6], gpu_slices, compute_slices;
		unsigned long long mib;
	} a = { .gpu_slices = f->slice == 0 ? 1 : 3, .compute_slices = f->slice == 0 ? 1 : 3,
		.mib = f->slice == 0 ? 9856 : 40320 };

	memcpy(ret, &a, sizeof(a));
	return 0;
}

/* Neither the order of enumeration nor that of the bus. */
int nvmlDeviceGetMinorNumber(void *dev, unsigned *ret)
{
	*ret = (unsigned)(((struct fake *)dev)->gpu ^ 1);
	return 0;
}

int nvmlDeviceGetGpuInstanceId(void *dev, unsigned *ret)
{
	const struct fake *f = dev;

	*ret = f->slice == 0 ? 9U : 2U;
	return f->slice < 0 ? NOT_SUPPORTED : 0;
}

int nvmlDeviceGetComputeInstanceId(void *dev, unsigned *ret)
{
	*ret = 0;
	return ((struct fake *)dev)->slice < 0 ? NOT_SUPPORTED : 0;
}

int nvmlDeviceGetNvLinkState(void *dev, unsigned link, unsigned *active)
{
	(void)dev;
	if (link >= LANES)
		return NOT_SUPPORTED;
	*active = 1;
	return 0;
}

int nvmlDeviceGetNvLinkVersion(void *dev, unsigned link, unsigned *version)
{
	(void)dev;
	(void)link;
	*version = 4;
	return 0;
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *dev, unsigned link, struct pci_info *ret)
{
	(void)dev;
	*ret = (struct pci_info){ .bus = 0xf0 + link % SWITCHES, .id = 0x22a310de };
	return 0;
}

int nvmlDeviceGetRemappedRows(void *dev, unsigned *c, unsigned *u, unsigned *pending, unsigned *failed)
{
	*c = *u = 0;
	*failed = (unsigned)said(((struct fake *)dev)->gpu, "failed", NULL);
	*pending = mode("sick") && ((struct fake *)dev)->gpu == 3;
	return 0;
}
