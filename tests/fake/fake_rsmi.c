/* fake_rsmi.c - a librocm_smi64 with two GPUs in two partitions each, at the PCI ids c1 and c6 of
 * tioga-mi250x.xml; only the first partition has a name and memory, as on a real MI300. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

int rsmi_init(uint64_t flags);
int rsmi_shut_down(void);
int rsmi_num_monitor_devices(uint32_t *n);
int rsmi_dev_pci_id_get(uint32_t i, uint64_t *ret);
int rsmi_dev_unique_id_get(uint32_t i, uint64_t *ret);
int rsmi_dev_name_get(uint32_t i, char *ret, size_t size);
int rsmi_dev_memory_total_get(uint32_t i, int type, uint64_t *ret);
int rsmi_topo_get_link_type(uint32_t a, uint32_t b, uint64_t *hops, int *type);

int rsmi_init(uint64_t flags)
{
	return flags == 0 ? 0 : 1;
}

int rsmi_shut_down(void)
{
	return 0;
}

int rsmi_num_monitor_devices(uint32_t *n)
{
	*n = 4;
	return 0;
}

int rsmi_dev_pci_id_get(uint32_t i, uint64_t *ret)
{
	*ret = (uint64_t)(i % 2) << 28 | (i < 2 ? 0xc100u : 0xc600u);
	return 0;
}

int rsmi_dev_unique_id_get(uint32_t i, uint64_t *ret)
{
	*ret = i < 2 ? 0xfeed : 0; /* two partitions share one, the others have none */
	return 0;
}

int rsmi_dev_name_get(uint32_t i, char *ret, size_t size)
{
	snprintf(ret, size, "%s", i % 2 ? "" : "AMD Instinct MI300A");
	return 0;
}

int rsmi_dev_memory_total_get(uint32_t i, int type, uint64_t *ret)
{
	if (type != 0 || i % 2)
		return 2;
	*ret = UINT64_C(64) << 30;
	return 0;
}

int rsmi_topo_get_link_type(uint32_t a, uint32_t b, uint64_t *hops, int *type)
{
	*hops = 1;
	*type = a / 2 == b / 2 ? 2 : 1;
	return 0;
}
