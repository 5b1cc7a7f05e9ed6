#!/usr/bin/env python3
"""Derive an hwloc 2.0 XML from an NCCL topology XML: nccl_to_hwloc.py IN.xml OUT.xml

NCCL's file has the CPU affinity of each NUMA node, the PCI tree with GPUs and NICs, and each GPU's
NVLinks with their targets. That is carried over one to one. What NCCL does not record is added here
and only here:

  * one package per NUMA node; two hardware threads per core, PU i and PU i + (PUs / 2), as Linux
    numbers them on x86
  * memory per NUMA node (MEMORY_BYTES), model and memory of the GPU by PCI device id (MODELS), from
    the vendors' public data sheets
  * NVSwitches as PCI functions under the first host bridge (the file names them as link targets only)
  * 25,000 MB/s per NVLink and direction, as hwloc counts NVLink 2 to 4
"""
import sys
import xml.etree.ElementTree as ET

MEMORY_BYTES = 1 << 40  # BM.GPU.H100.8: 2 TB in two NUMA nodes
MODELS = {"0x2330": ("NVIDIA H100 80GB HBM3", 81559)}  # PCI device -> NVML name, MiB
LINK_MBPS = 25000

gp = 0


def obj(parent, kind, **attrs):
    global gp
    gp += 1
    e = ET.SubElement(parent, "object", type=kind)
    for k, v in attrs.items():
        e.set(k, str(v))
    e.set("gp_index", str(gp))
    return e


def bitmap(mask):
    words = []
    while mask or not words:
        words.insert(0, mask & 0xffffffff)
        mask >>= 32
    last = len(words) - 1
    return ",".join(hex(w) if w or i == last else "" for i, w in enumerate(words))


def sets(cpus, nodes):
    c, n = bitmap(cpus), bitmap(nodes)
    return dict(cpuset=c, complete_cpuset=c, nodeset=n, complete_nodeset=n)


def pci_type(e):
    cls = e.get("class")[2:6]
    return "%s [%s:%s] [%s:%s] 00" % (cls, e.get("vendor")[2:], e.get("device")[2:],
                                      e.get("subsystem_vendor")[2:], e.get("subsystem_device")[2:])


def buses(e):
    return [int(p.get("busid").split(":")[1], 16) for p in e.iter("pci")]


def add_pci(parent, e, depth, links):
    busid = e.get("busid")
    if e.get("class").startswith("0x0604"):
        b = obj(parent, "Bridge", bridge_type="1-1", depth=depth, pci_busid=busid, pci_type=pci_type(e),
                bridge_pci="0000:[%02x-%02x]" % (min(buses(e)), max(buses(e))), pci_link_speed="0.0")
        for child in e.findall("pci"):
            add_pci(b, child, depth + 1, links)
        return
    d = obj(parent, "PCIDev", pci_busid=busid, pci_type=pci_type(e), pci_link_speed="0.0")
    for gpu in e.findall("gpu"):
        model, mib = MODELS[e.get("device")]
        o = obj(d, "OSDev", name="cuda" + gpu.get("dev"), subtype="CUDA", osdev_type=5)
        for k, v in (("Backend", "CUDA"), ("GPUModel", model), ("CUDAGlobalMemorySize", mib * 1024)):
            ET.SubElement(o, "info", name=k, value=str(v))
        for l in gpu.findall("nvlink"):
            links.append((o.get("gp_index"), l.get("target"), int(l.get("count")) * LINK_MBPS))
    for net in e.findall("nic/net"):
        obj(d, "OSDev", name=net.get("name"), osdev_type=3)


def main():
    cpus = sorted(ET.parse(sys.argv[1]).getroot().findall("cpu"), key=lambda c: int(c.get("numaid")))
    masks = [int(c.get("affinity").replace(",", ""), 16) for c in cpus]
    everything, half = sum(masks), sum(masks).bit_length() // 2
    topology = ET.Element("topology", version="2.0")
    machine = obj(topology, "Machine", os_index=0, allowed_cpuset=bitmap(everything),
                  allowed_nodeset=bitmap((1 << len(cpus)) - 1),
                  **sets(everything, (1 << len(cpus)) - 1))
    ET.SubElement(machine, "info", name="hwlocVersion", value="derived from NCCL")
    links, switches, first_bridge, core = [], {}, None, 0
    for i, (cpu, mask) in enumerate(zip(cpus, masks)):
        package = obj(machine, "Package", os_index=i, **sets(mask, 1 << i))
        obj(package, "NUMANode", os_index=i, local_memory=MEMORY_BYTES, **sets(mask, 1 << i))
        for pu in range(half):
            if not mask >> pu & 1:
                continue
            c = obj(package, "Core", os_index=core, **sets(1 << pu | 1 << pu + half, 1 << i))
            core += 1
            for p in (pu, pu + half):
                obj(c, "PU", os_index=p, **sets(1 << p, 1 << i))
        for top in cpu.findall("pci"):
            host = obj(package, "Bridge", bridge_type="0-1", depth=0,
                       bridge_pci="0000:[%02x-%02x]" % (min(buses(top)), max(buses(top))))
            first_bridge = host if first_bridge is None else first_bridge
            add_pci(host, top, 1, links)
    for _, target, _ in links:
        if target not in switches:
            switches[target] = obj(first_bridge, "PCIDev", subtype="NVSwitch", pci_busid=target, pci_link_speed="0.0",
                                   pci_type="0680 [10de:22a3] [10de:0000] 00").get("gp_index")
    names = ["OSDev:" + g for g in dict.fromkeys(g for g, _, _ in links)]
    names += ["PCIDev:" + g for g in switches.values()]
    values = {}
    for g, target, mbps in links:
        pair = ("OSDev:" + g, "PCIDev:" + switches[target])
        values[pair] = values[pair[::-1]] = mbps
    d = ET.SubElement(topology, "distances2hetero", nbobjs=str(len(names)), kind="25",
                      name="NVLinkBandwidth")
    text = "".join(n + " " for n in names)
    ET.SubElement(d, "indexes", length=str(len(text))).text = text
    for a in names:
        text = "".join("%d " % values.get((a, b), 0) for b in names)
        ET.SubElement(d, "u64values", length=str(len(text))).text = text
    ET.indent(topology, "")
    with open(sys.argv[2], "wb") as out:
        out.write(b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE topology SYSTEM "hwloc2.dtd">\n')
        ET.ElementTree(topology).write(out)
        out.write(b"\n")


if __name__ == "__main__":
    main()
