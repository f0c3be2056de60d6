# Two stages: the first builds a virtual environment, the second is Python and that environment, nothing else.

FROM python:3.13-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE __init__.py __main__.py py.typed ./
COPY protocol ./protocol
COPY storage ./storage
COPY client ./client
COPY broker ./broker
COPY cli ./cli
RUN python -m venv /opt/tidelog && /opt/tidelog/bin/pip install --no-cache-dir --disable-pip-version-check .

FROM python:3.13-slim-bookworm
LABEL org.opencontainers.image.title="tidelog" \
      org.opencontainers.image.description="A standalone log broker that speaks Kafka" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/tidelog /opt/tidelog
ENV PATH=/opt/tidelog/bin:$PATH PYTHONUNBUFFERED=1

# Not root; and the volume belongs to that user before anything is mounted on it.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/tidelog --shell /usr/sbin/nologin tidelog \
    && install --directory --owner=tidelog --group=tidelog --mode=0750 /var/lib/tidelog
USER 10001:10001
WORKDIR /var/lib/tidelog
VOLUME /var/lib/tidelog
EXPOSE 9092 9192

# SIGTERM drains: what was promised is answered, the logs are closed, and the next start need not recover.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["tidelog", "health", "--ready"]

ENTRYPOINT ["tidelog"]
CMD ["serve", "--listen", "0.0.0.0:9092", "--http", "0.0.0.0:9192", "--data-dir", "/var/lib/tidelog"]
