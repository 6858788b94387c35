"""A contract's file for tests, and changes to it."""

from pathlib import Path

ORDERS = """\
apiVersion: v3.1.0
kind: DataContract
id: 7f3a
version: 1.2.0
status: active
team: {name: shop, members: [{username: ann, role: Owner}]}
schema:
  - name: orders
    properties:
      - name: order_id
        logicalType: integer
        primaryKey: true
      - name: placed_at
        logicalType: timestamp
        required: true
      - name: amount
        logicalType: number
        physicalType: decimal(12,2)
        logicalTypeOptions: {minimum: 0.01}
        required: true
      - name: status
        logicalType: string
        quality:
          - metric: invalidValues
            arguments: {validValues: [new, paid]}
            mustBe: 0
        customProperties:
          - {property: default, value: new}
      - name: note
        logicalType: string
    quality:
      - metric: rowCount
        mustBeGreaterThan: 10
slaProperties:
  - {property: latency, value: 4, unit: d}
"""


def write(folder: Path, *changes: tuple[str, str], name: str = "orders.yaml") -> Path:
    """Write the file with some of its text replaced; every replaced text must be there."""
    text = ORDERS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path
