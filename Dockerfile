# Lungsight on a CPU: predicts and serves. Not root, no network needed at run time. How to use it: docs/docker.md
FROM debian:12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates
RUN python3 -m venv /opt/lungsight
COPY pyproject.toml README.md LICENSE /source/
COPY src /source/src
RUN /opt/lungsight/bin/pip install --no-cache-dir '/source[serve,dicom]' \
    && /opt/lungsight/bin/pip uninstall -y pip setuptools
RUN /opt/lungsight/bin/python -m compileall -q /opt/lungsight/lib

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --shell /usr/sbin/nologin lungsight
COPY --from=build /opt/lungsight /opt/lungsight
ENV PATH=/opt/lungsight/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/lungsight
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python3", "-c", \
    "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["lungsight"]
CMD ["serve", "--host", "0.0.0.0"]
