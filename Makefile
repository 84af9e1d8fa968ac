# Two commands do everything on a fresh machine: `make demo` and `make test`.
.PHONY: demo test test-slow soak check bench docs lock clean

demo:
	@tools/setup demo
	@.venv/bin/vallum demo

test:
	@tools/setup test
	.venv/bin/pytest -n 2 --dist loadfile -m "not slow"

test-slow:
	@tools/setup test
	.venv/bin/pytest -n 2 --dist loadfile -m slow

check:
	@tools/setup test
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python tools/check_house.py

soak:  # an hour
	@tools/setup test
	.venv/bin/python benchmarks/serving_neighbours.py soak --soak-s 3600

docs:
	.venv/bin/python tools/generate_reference.py

bench:
	.venv/bin/python benchmarks/run.py

lock:
	.venv/bin/pip-compile -q --extra server --extra demo --extra synthetic --extra dev --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras \
	    --allow-unsafe --no-header -o requirements.lock pyproject.toml
	sed -i '/^# WARNING: pip install/,/^    # via vallum/d' requirements.lock

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
