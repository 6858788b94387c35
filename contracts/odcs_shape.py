"""The shape of a contract's file: every key that the Open Data Contract Standard 3.1 knows."""

from contracts.shape import (
    COLUMN_PATTERN,
    Again,
    Anything,
    Choice,
    Either,
    Flag,
    Listing,
    Options,
    Scalar,
    Shape,
    Text,
    Whole,
)

VERSIONS = ("v3.1.0", "v3.0.2", "v3.0.1", "v3.0.0")
VERSION_PATTERN = r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$"
LOGICAL_TYPES = (
    "string", "date", "timestamp", "time", "number", "integer", "object", "array", "boolean",
)  # fmt: skip
OPERATORS = {
    "mustBe": "=",
    "mustNotBe": "<>",
    "mustBeGreaterThan": ">",
    "mustBeGreaterOrEqualTo": ">=",
    "mustBeLessThan": "<",
    "mustBeLessOrEqualTo": "<=",
    "mustBeBetween": "between",
    "mustNotBeBetween": "not between",
}
METRICS = {
    "nullValues": "null_values",
    "missingValues": "missing_values",
    "invalidValues": "invalid_values",
    "duplicateValues": "duplicate_values",
    "rowCount": "row_count",
}
DIMENSIONS = (
    "accuracy", "completeness", "conformity", "consistency", "coverage", "timeliness", "uniqueness",
)  # fmt: skip

_TEXT = Text()
_TEXTS = Listing(_TEXT)
_KEY = Text("an identifier of letters, digits, - and _", r"^[A-Za-z0-9_-]+$")
_SIZE = Whole(0, 2**31 - 1)
_PLACE = Whole(-1, 2**31 - 1)

_CUSTOM = Listing(
    Options(
        {"id": _KEY, "property": _TEXT, "value": Anything(), "description": _TEXT},
        required=("property", "value"),
    )
)
_LINKS = Listing(
    Options(
        {"id": _KEY, "url": _TEXT, "type": _TEXT, "description": _TEXT}, required=("url", "type")
    )
)
_COMMON: dict[str, Shape] = {
    "id": _KEY,
    "tags": _TEXTS,
    "customProperties": _CUSTOM,
    "authoritativeDefinitions": _LINKS,
}

_QUALITY = Options(
    {
        **_COMMON,
        "name": _TEXT,
        "description": _TEXT,
        "type": Choice(("library", "sql", "text", "custom")),
        "metric": Choice(tuple(METRICS), "What is counted"),
        "rule": Text(doc="Old word for `metric`"),
        "arguments": Options(
            {
                "missingValues": Listing(Scalar(nullable=True), 1, "Values that count as missing"),
                "validValues": Listing(Scalar(nullable=True), 1, "Values that are valid"),
                "pattern": Text(doc="Pattern that makes a value valid"),
                "properties": Listing(_TEXT, 1, "Fields whose values are taken together"),
            }
        ),
        **dict.fromkeys(list(OPERATORS)[:6], Scalar()),
        "mustBeBetween": Listing(Scalar(), 2),
        "mustNotBeBetween": Listing(Scalar(), 2),
        "unit": _TEXT,
        "query": Text(doc="Query of a rule of type sql"),
        "engine": _TEXT,
        "implementation": Anything(),
        "dimension": Choice(DIMENSIONS),
        "method": _TEXT,
        "severity": Text(doc="block, quarantine or warn; error, warning and the like"),
        "businessImpact": _TEXT,
        "schedule": _TEXT,
        "scheduler": _TEXT,
    }
)
_RELATIONS = Listing(
    Options(
        {
            "type": Choice(("foreignKey",)),
            "from": Anything(),
            "to": Anything(),
            "customProperties": _CUSTOM,
        },
        required=("to",),
    ),
    doc="References to other datasets",
)

_TYPE_OPTIONS = Options(
    {
        "minLength": _SIZE,
        "maxLength": _SIZE,
        "pattern": Text(doc="Searched anywhere in the text"),
        "format": _TEXT,
        "minimum": Scalar(),
        "maximum": Scalar(),
        "exclusiveMinimum": Scalar(),
        "exclusiveMaximum": Scalar(),
        "multipleOf": Scalar(),
        "timezone": Flag(),
        "defaultTimezone": _TEXT,
        "minItems": _SIZE,
        "maxItems": _SIZE,
        "uniqueItems": Flag(),
        "minProperties": _SIZE,
        "maxProperties": _SIZE,
        "required": Listing(_TEXT, 1),
    },
    doc="What values must be",
)

_ELEMENT: dict[str, Shape] = {
    **_COMMON,
    "physicalName": Text(doc="Name in the source where it differs"),
    "physicalType": Text(doc="Type in the source; a field type such as decimal(12,2) is one, too"),
    "description": _TEXT,
    "businessName": _TEXT,
    "relationships": _RELATIONS,
    "quality": Listing(_QUALITY, doc="Rules of quality"),
}

_FIELD: dict[str, Shape] = {
    **_ELEMENT,
    "name": Text(
        "a name of letters, digits and _ that begins with a letter or _, at most 63 long",
        COLUMN_PATTERN,
    ),
    "logicalType": Choice(LOGICAL_TYPES),
    "logicalTypeOptions": _TYPE_OPTIONS,
    "required": Flag("Whether null is not allowed"),
    "unique": Flag("Whether no two rows share a value"),
    "primaryKey": Flag("Whether it is part of the primary key"),
    "primaryKeyPosition": _PLACE,
    "partitioned": Flag(),
    "partitionKeyPosition": _PLACE,
    "classification": Text(doc="How sensitive it is, such as confidential"),
    "encryptedName": _TEXT,
    "transformSourceObjects": _TEXTS,
    "transformLogic": _TEXT,
    "transformDescription": _TEXT,
    "examples": Listing(Anything()),
    "criticalDataElement": Flag(),
}
FIELD = Options(_FIELD, required=("name",))
ITEM = Options(_FIELD)
_FIELD["properties"] = Listing(Again("field", FIELD), doc="Fields of an object")
_FIELD["items"] = Again("item", ITEM)

_MEMBER = Options(
    {
        **_COMMON,
        "username": _TEXT,
        "name": _TEXT,
        "description": _TEXT,
        "role": _TEXT,
        "dateIn": _TEXT,
        "dateOut": _TEXT,
        "replacedByUsername": _TEXT,
    },
    required=("username",),
)
_MEMBERS = Listing(_MEMBER)

_ROLE = Options(
    {
        "id": _KEY,
        "role": _TEXT,
        "description": _TEXT,
        "access": _TEXT,
        "firstLevelApprovers": _TEXT,
        "secondLevelApprovers": _TEXT,
        "customProperties": _CUSTOM,
    },
    required=("role",),
)
_SERVER = Options(
    {
        **{name: shape for name, shape in _COMMON.items() if name in {"id", "customProperties"}},
        "server": _TEXT,
        "type": _TEXT,
        "description": _TEXT,
        "environment": _TEXT,
        "roles": Listing(_ROLE),
        **dict.fromkeys(
            (
                "account", "catalog", "database", "dataset", "delimiter", "endpointUrl", "format",
                "host", "location", "path", "port", "project", "region", "regionName", "schema",
                "serviceName", "stagingDir", "stream", "warehouse",
            ),
            Scalar(),
        ),
    },
    required=("server", "type"),
)  # fmt: skip

CONTRACT = Options(
    {
        "apiVersion": Choice(VERSIONS, "Version of the standard"),
        "kind": Choice(("DataContract",)),
        "id": Text(doc="Identifier within the organisation"),
        "name": Text(doc="Name for people"),
        "version": Text("a version such as 1.4.0", VERSION_PATTERN, "Version of the contract"),
        "status": Text(doc="proposed, draft, active, deprecated or retired"),
        "tenant": _TEXT,
        "domain": _TEXT,
        "dataProduct": _TEXT,
        "tags": _TEXTS,
        "contractCreatedTs": _TEXT,
        "description": Options(
            {
                "purpose": _TEXT,
                "usage": _TEXT,
                "limitations": _TEXT,
                "customProperties": _CUSTOM,
                "authoritativeDefinitions": _LINKS,
            }
        ),
        "schema": Listing(
            Options(
                {
                    **_ELEMENT,
                    "name": Text(doc="Name of the dataset, such as a table or topic"),
                    "logicalType": Choice(("object",)),
                    "dataGranularityDescription": _TEXT,
                    "properties": Listing(Again("field", FIELD), 1, "Fields"),
                },
                required=("name", "properties"),
            ),
            1,
            "The dataset",
        ),
        "servers": Listing(_SERVER, doc="Where the data is; connections are in the settings"),
        "support": Listing(
            Options(
                {
                    "id": _KEY,
                    "channel": _TEXT,
                    "url": _TEXT,
                    "description": _TEXT,
                    "tool": _TEXT,
                    "scope": _TEXT,
                    "invitationUrl": _TEXT,
                    "customProperties": _CUSTOM,
                },
                required=("channel",),
            )
        ),
        "price": Options(
            {"id": _KEY, "priceAmount": Scalar(), "priceCurrency": _TEXT, "priceUnit": _TEXT}
        ),
        "team": Either(
            _MEMBERS,
            Options(
                {
                    **_COMMON,
                    "name": Text(doc="Who answers for the data"),
                    "description": _TEXT,
                    "members": _MEMBERS,
                }
            ),
        ),
        "roles": Listing(_ROLE),
        "slaDefaultElement": _TEXT,
        "slaProperties": Listing(
            Options(
                {
                    "id": _KEY,
                    "property": Text(doc="latency, retention, availability and the like"),
                    "value": Anything(),
                    "valueExt": Anything(),
                    "unit": _TEXT,
                    "element": _TEXT,
                    "driver": _TEXT,
                    "description": _TEXT,
                    "scheduler": _TEXT,
                    "schedule": _TEXT,
                },
                required=("property", "value"),
            )
        ),
        "authoritativeDefinitions": _LINKS,
        "customProperties": _CUSTOM,
    },
    required=("apiVersion", "kind", "id", "version", "status", "schema"),
)
