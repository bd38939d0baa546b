"""Annotations from QuPath (GeoJSON) -> polygons: kinder than QuPath's own reader, but nothing goes in silence.

Only *annotations* count as truth; detections, points and lines are counted and skipped. Class names are matched literally
(the star belongs to QuPath's names): `Region*`, `Ignore*`, the gland class, and what is derived from them (`Gland: tumour`).
"""
