# Two commands do all the set-up: `make demo` and `make test`.

PYTHON ?= python3
TORCH ?= 2.13.0
DEPENDENCIES ?= newest# or oldest: the lower bounds in pyproject.toml
VENV := .venv
CONSTRAINTS := $(if $(filter oldest,$(DEPENDENCIES)),-c $(VENV)/oldest.txt)
DIGITS := demo/digits_cnn
BIN := $(VENV)/bin
TYPES := build/types/edgeopt
SOURCES_OF_C = $(shell find kernels targets samples tests -regex '.*\.\(c\|h\|cpp\|cu\|cuh\)')
APT_PACKAGES := gcc clang gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm cmake make shellcheck python3-venv
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: demo test test-all coverage check types docs install install-test toolchain clean

demo: install toolchain  ## train a small model on digits, export it to CPU and microcontroller, print the reports
	$(BIN)/python -m samples.digits_cnn
	$(BIN)/edgeopt export $(DIGITS)/model.pt2 --target cpu --data $(DIGITS)/eval.npz -o demo/cpu
	$(BIN)/edgeopt export $(DIGITS)/model.pt2 --target cpu --precision int8 \
		--calib $(DIGITS)/calib.npz --data $(DIGITS)/eval.npz -o demo/cpu-int8
	$(BIN)/edgeopt export $(DIGITS)/model.pt2 --target cortex-m4 --calib $(DIGITS)/calib.npz -o demo/cortex-m4
	$(BIN)/edgeopt bench demo/cpu demo/cpu-int8
	@echo "open demo/cpu/report.html and demo/cortex-m4/report.html; the C library is in demo/cortex-m4/network"

test: install-test toolchain check  ## everything: style, types, unit and end-to-end tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --durations=15

test-all: install-test toolchain check  ## the same with what only a nightly run has the time for: fuzzing, all operators
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --durations=15 -m ""

coverage: install-test toolchain  ## how much of the package the tests run that are not slow
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow and not nightly and not gpu" --cov

check: install-test types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(SOURCES_OF_C)
	$(BIN)/mypy

types:  ## the package as it is installed, in links, for mypy
	rm -rf $(TYPES)
	mkdir -p $(TYPES)
	ln -s $(CURDIR)/edgeopt/* $(addprefix $(CURDIR)/,targets calib kernels) $(TYPES)

docs: install  ## the site, in build/site
	$(BIN)/pip install -q -e '.[docs]'
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_overrides.py
	$(BIN)/python docs/make_flags.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

install: $(VENV)/installed
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV) || ($(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q python3-venv && $(PYTHON) -m venv $(VENV))
	$(PYTHON) tests/oldest.py >$(VENV)/oldest.txt
	$(BIN)/pip install -q "torch==$(TORCH)" $(CONSTRAINTS)
	$(BIN)/pip install -q -e '.[all,samples]' $(CONSTRAINTS)
	touch $@

install-test: $(VENV)/installed-test
$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install -q "setuptools>=77" wheel
	$(BIN)/pip install -q -e '.[test]' $(CONSTRAINTS)
	touch $@

toolchain:  ## compilers and emulator, where one is absent
	@for tool in gcc clang arm-none-eabi-gcc qemu-system-arm cmake shellcheck; do \
		command -v $$tool >/dev/null || { $(SUDO) apt-get update -q && \
			$(SUDO) apt-get install -y -q --no-install-recommends $(APT_PACKAGES) || exit 1; break; }; done

clean:
	rm -rf $(VENV) demo build dist *.egg-info
