# The GPU environment as a container, with the versions of envs/locks/gpu-py312.txt. CUDA's libraries come with them; the driver (580 or newer) is the
# host's. In the checkout:
#   docker build -t causcade-gpu -f envs/gpu.Dockerfile .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD":/work causcade-gpu snakemake --profile profiles/local
FROM python:3.12-slim-bookworm
# gcc is for compiled models (torch.compile), git for the commit in the manifest.
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ git libgomp1 && rm -rf /var/lib/apt/lists/*
COPY envs/locks/gpu-py312.txt /opt/causcade/envs/locks/gpu-py312.txt
RUN pip install --no-cache-dir -r /opt/causcade/envs/locks/gpu-py312.txt
COPY pyproject.toml README.md LICENSE /opt/causcade/
COPY src /opt/causcade/src
RUN pip install --no-cache-dir --no-deps -e /opt/causcade
# Texts stay Python's own, as with pandas 2.
ENV PANDAS_FUTURE_INFER_STRING=0
WORKDIR /work
CMD ["causcade", "doctor"]
