#!/usr/bin/env python3
"""Strip an hwloc 2.x XML to what sluis-agent reads: strip.py IN.xml OUT.xml

Kept: packages, groups, L3 caches, NUMA nodes, cores, PUs; PCI bridges and the PCI devices that are
GPUs, NVSwitches or NICs; their OS devices with model, UUID and memory; link bandwidth matrices;
complete_cpuset and complete_nodeset, without which hwloc 2.9 crashes.
Dropped: inner caches, disks and other devices, DMI and OS texts, host name, serial numbers, MAC
addresses, page sizes, memory attributes, NUMA latencies. The inventory that sluis-agent makes of both
files has the same digest.
"""
import sys
import xml.etree.ElementTree as ET

INFOS = {"hwlocVersion", "CPUModel", "Backend", "GPUModel", "GPUVendor", "NVIDIAUUID", "AMDUUID",
         "XGMIHiveID", "RSMIVRAMSize", "CUDAGlobalMemorySize", "OpenCLGlobalMemorySize", "PCIDevice"}
INNER = {"L1Cache", "L2Cache", "L1iCache", "L2iCache"}
OSDEV_KEPT = {"1", "2", "3", "5"}  # GPU, network, OpenFabrics, co-processor


def pci_kept(obj):
    cls = obj.get("pci_type", "").split()[0]
    return cls[:2] in ("02", "03", "12") or cls in ("0c06", "0680")


def strip(obj):
    for child in list(obj):
        if child.tag == "page_type" or (child.tag == "info" and child.get("name") not in INFOS):
            obj.remove(child)
        elif child.tag == "object":
            strip(child)
            kind = child.get("type")
            at = list(obj).index(child)
            if kind in INNER:
                obj.remove(child)
                for n, inner in enumerate(c for c in list(child) if c.tag == "object"):
                    obj.insert(at + n, inner)
            elif kind == "OSDev" and child.get("osdev_type") not in OSDEV_KEPT:
                obj.remove(child)
            elif kind == "PCIDev" and not pci_kept(child):
                obj.remove(child)
            elif kind == "Bridge" and not any(c.tag == "object" for c in child):
                obj.remove(child)
    for name in ("cache_linesize", "cache_associativity"):
        obj.attrib.pop(name, None)


def main():
    tree = ET.parse(sys.argv[1])
    root = tree.getroot()
    for child in list(root):
        if child.tag == "object":
            strip(child)
        elif not (child.tag.startswith("distances2") and "Bandwidth" in child.get("name", "")):
            root.remove(child)
    ET.indent(tree, " ")
    with open(sys.argv[2], "wb") as out:
        out.write(b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE topology SYSTEM "hwloc2.dtd">\n')
        tree.write(out)
        out.write(b"\n")


if __name__ == "__main__":
    main()
