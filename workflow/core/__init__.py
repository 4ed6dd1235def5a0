"""What every stage uses: params, files, and settings of the processor. One dependency of all stages."""
