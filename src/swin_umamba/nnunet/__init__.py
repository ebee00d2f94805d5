"""The plug-in to stock nnU-Net: trainers, planner, environment, and the steps plan and train."""
