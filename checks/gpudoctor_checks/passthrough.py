"""Kernel drivers that hold a device for somebody else: a guest, or virtual functions of it."""

# https://github.com/torvalds/linux/blob/master/drivers/xen/xen-pciback/pci_stub.c: the module registers as pciback
PASSED_THROUGH = ("vfio-pci", "pci-stub", "xen-pciback", "pciback", "nvgrace_gpu_vfio_pci")
AMD_HOST = "gim"  # AMD's SR-IOV host driver: https://github.com/amd/MxGPU-Virtualization
