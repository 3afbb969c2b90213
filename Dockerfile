# lexpr with git, and no more: gates run in it, so build your own image on top with what they need.
#
#   docker build -t lexpr .
#   docker run --rm --init --user "$(id -u):$(id -g)" -v "$PWD:/repo" lexpr merge plan.yaml
#
# --init: something has to reap what gates leave to process 1. --user: the repository's owner, or git refuses to work in
# it. Slots lie in /cache; mount a volume there to keep builds warm. To --push over ssh, which works for nobody that it finds
# no name of ("No user exists for uid"), lend it yours, with your keys and hosts:
#
#   -v /etc/passwd:/etc/passwd:ro -v "$HOME/.ssh:$HOME/.ssh:ro"

FROM rust:1-slim-trixie AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY benches benches
COPY src src
RUN cargo build --locked --profile dist --bin lexpr

FROM debian:trixie-slim
# Debian 13 has git 2.47. ssh is for --push, and certificates are for https.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir -m 1777 /cache
COPY --from=build /src/target/dist/lexpr /usr/local/bin/lexpr
ENV XDG_CACHE_HOME=/cache
WORKDIR /repo
ENTRYPOINT ["lexpr"]
