# One image for API, workers and beat. Debian's ffmpeg is used; nothing embedded is installed.
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 streamcoop

WORKDIR /app
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY ledger ledger
COPY streamcoop streamcoop
COPY workers workers
COPY contracts/abi contracts/abi
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

ENV STREAMCOOP_FFMPEG=/usr/bin/ffmpeg \
    PYTHONUNBUFFERED=1
USER streamcoop
EXPOSE 8000
# Only the proxy reaches this port; it overwrites what a client says of its own address.
CMD ["streamcoop", "serve", "--host", "0.0.0.0", "--port", "8000", "--grace", "30", "--trusted-proxies", "*"]
