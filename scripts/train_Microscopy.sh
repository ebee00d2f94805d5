#!/usr/bin/env bash
# train_Microscopy.sh MODEL_NAME --data DIR [options of swin-umamba reproduce]
exec swin-umamba reproduce microscopy --trainer "${1:?give MODEL_NAME, such as nnUNetTrainerSwinUMambaD}" "${@:2}"
