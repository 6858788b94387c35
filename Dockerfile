# The image of the workers and of the command line; the environment comes from the hashed lock.
FROM python:3.12-slim AS environment
WORKDIR /srv/sluice
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1
COPY requirements-setup.lock requirements.lock ./
RUN python -m venv /opt/sluice \
    && /opt/sluice/bin/pip install --no-cache-dir --require-hashes -r requirements-setup.lock \
    && /opt/sluice/bin/uv pip install --no-cache --python /opt/sluice/bin/python \
        --no-build-isolation --require-hashes -r requirements.lock
COPY . .
RUN /opt/sluice/bin/uv pip install --no-cache --python /opt/sluice/bin/python \
        --no-build-isolation --no-deps -e .

FROM python:3.12-slim
RUN useradd --uid 10001 --create-home sluice \
    && install -d -o sluice -g sluice /var/lib/sluice
COPY --from=environment /opt/sluice /opt/sluice
COPY --from=environment /srv/sluice /srv/sluice
ENV PATH=/opt/sluice/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    POLARS_MAX_THREADS=1 \
    NUMBA_CACHE_DIR=/var/lib/sluice/numba \
    SLUICE_DATA_DIR=/var/lib/sluice
USER sluice
WORKDIR /var/lib/sluice
ENTRYPOINT ["sluice"]
CMD ["--help"]
