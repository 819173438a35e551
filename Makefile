# The commands of the project. `make run` and `make test` set up all they need.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := run
.PHONY: setup run test lint format messages bench guessing soak conformance

.venv/.run-stamp: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/.dev-stamp: .venv/.run-stamp requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

setup: .venv/.run-stamp .venv/.dev-stamp

run: .venv/.run-stamp
	$(BIN)/python manage.py rundemo $(ARGS)

test: setup
	$(BIN)/python -m tests.run $(ARGS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run

# Workers killed at random moments for some minutes, on both databases; see tests/e2e/soak_kill.py and tests/e2e/soak_relay.py.
soak: setup
	$(BIN)/python -m tests.run -n0 -s tests/e2e/soak_kill.py tests/e2e/soak_relay.py $(ARGS)

# docs/conformance.md: ours and Dovecot, held against the RFCs.
conformance: setup
	$(BIN)/python -m tests.conformance

bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

# The texts that are translated: collected from the code and compiled. Needs GNU gettext; the compiled files are kept.
messages: setup
	for app in $(dir $(wildcard */locale/)); do \
		(cd $$app/.. && ../$(BIN)/python ../manage.py makemessages --locale fr --no-wrap --no-location \
			&& ../$(BIN)/python ../manage.py compilemessages --locale fr) || exit; \
	done

# Guesses at a password beside clients that poll, and logins over TLS in a row; see benchmarks/guessing.py.
guessing: setup
	$(BIN)/python -m benchmarks.guessing

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
