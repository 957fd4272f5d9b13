# A static binary and nothing else: no shell, no user database, no libraries.
FROM scratch
COPY quartet-operator /quartet-operator
USER 65532:65532
ENTRYPOINT ["/quartet-operator"]
