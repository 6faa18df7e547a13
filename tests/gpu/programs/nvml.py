# SPDX-License-Identifier: Apache-2.0
"""NVML: what the client's libnvidia-ml.so.1 says about the device."""
import pynvml

from common import show

pynvml.nvmlInit()
show("count", pynvml.nvmlDeviceGetCount())
handle = pynvml.nvmlDeviceGetHandleByIndex(0)
show("name", pynvml.nvmlDeviceGetName(handle))
show("uuid", pynvml.nvmlDeviceGetUUID(handle))
memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
show("memory", memory.total > 0, memory.used <= memory.total)
show("capability", pynvml.nvmlDeviceGetCudaComputeCapability(handle))
show("bus", pynvml.nvmlDeviceGetPciInfo(handle).busId)
show("driver", pynvml.nvmlSystemGetDriverVersion())
show("cuda driver", pynvml.nvmlSystemGetCudaDriverVersion_v2())
utilization = pynvml.nvmlDeviceGetUtilizationRates(handle)
show("utilization", 0 <= utilization.gpu <= 100)
pynvml.nvmlShutdown()
