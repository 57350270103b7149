"""The main job as a story over real HTTP: artists upload, listeners stream and come to own, an epoch closes."""
