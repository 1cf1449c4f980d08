# Short names for the commands of README.md and docs/deployment.md; ARGS and MODEL pass through: make run ARGS="--max-num-seqs 4"
CONFIGURATION ?= Release
SALS = dotnet run -c $(CONFIGURATION) --project src/Sals.Server --
MODEL ?=
ARGS ?=

.PHONY: build test gpu-test gpu-sanitize bench fmt run calibrate image image-cpu check-deploy

build:
	dotnet build sals.sln -c $(CONFIGURATION)

test:
	dotnet test sals.sln -c $(CONFIGURATION)

gpu-test:
	dotnet run --project tests/Sals.Gpu.Tests -c $(CONFIGURATION)

gpu-sanitize:
	dotnet build tests/Sals.Gpu.Tests -c $(CONFIGURATION)
	tests/sanitize.sh tests/Sals.Gpu.Tests/bin/$(CONFIGURATION)/net10.0

bench:
	$(SALS) bench $(MODEL) $(ARGS)

fmt:
	dotnet format sals.sln
	git ls-files '*.cu' '*.cuh' | xargs --no-run-if-empty clang-format -i

run:
	$(SALS) serve $(MODEL) $(ARGS)

calibrate:
	$(SALS) calibrate $(if $(MODEL),--model $(MODEL)) $(ARGS)

image:
	docker build -t sals:cuda .

image-cpu:
	docker build --target cpu -t sals:cpu .

check-deploy:
	deploy/check
