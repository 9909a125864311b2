# The image of the databases beside a sandbox. A file of its own: it changes without the sandboxes' images, and they
# without it. Built by ./build; kept to what the classic builder knows.

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="dockwright services"
COPY services.sh /tmp/
RUN sh /tmp/services.sh && rm /tmp/services.sh
ENV LANG=C.UTF-8
USER postgres
CMD ["postgres", "--version"]
