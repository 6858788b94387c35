"""The turn against a small model of PostgreSQL's extended protocol."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from devstack.timescale_turn import Turn
from devstack.timescale_wire import Framer, Message, cut


@dataclass
class FakeSession:
    """Answers messages as a server does: skips to Sync after an error, refuses a used name."""

    statements: dict[bytes, bytes] = field(default_factory=dict)
    status: bytes = b"I"
    skips: bool = False

    def feed(self, data: bytes) -> list[Message]:
        framer = Framer()
        framer.feed(data)
        return [answer for message in framer.messages() for answer in self._answer(message)]

    def _answer(self, message: Message) -> list[Message]:
        if message.type == b"Q":
            self.skips = False
            return [*self._execute(message.body.rstrip(b"\0")), self._ready()]
        if message.type == b"S":
            self.skips = False
            return [self._ready()]
        if self.skips:
            return []
        answers = self._extended(message)
        self.skips = any(answer.type == b"E" for answer in answers)
        return answers

    def _extended(self, message: Message) -> list[Message]:
        match message.type:
            case b"P":
                (name, sql), _ = cut(message.body, 2)
                if name in self.statements:
                    return [self._error()]
                self.statements[name] = sql
                return [Message(b"1", b"")]
            case b"B":
                (_, name), _ = cut(message.body, 2)
                if name not in self.statements:
                    return [self._error()]
                self.bound = self.statements[name]
                return [Message(b"2", b"")]
            case b"C":
                (name,), _ = cut(message.body[1:], 1)
                self.statements.pop(name, None)
                return [Message(b"3", b"")]
            case b"E":
                return self._execute(self.bound)
        return []

    def _execute(self, sql: bytes) -> list[Message]:
        if sql == b"fail" or (self.status == b"E" and sql != b"rollback"):
            return [self._error()]
        if sql in {b"begin", b"rollback"}:
            self.status = b"T" if sql == b"begin" else b"I"
        return [Message(b"C", sql + b"\0")]

    def _error(self) -> Message:
        self.status = b"E" if self.status != b"I" else b"I"
        return Message(b"E", b"SERROR\0\0")

    def _ready(self) -> Message:
        return Message(b"Z", self.status)


SQL = st.sampled_from([b"begin", b"rollback", b"select", b"fail"])
NAME = st.sampled_from([b"", b"a", b"b"])


def parse(name: bytes, sql: bytes) -> Message:
    return Message(b"P", name + b"\0" + sql + b"\0\0\0")


def bind(name: bytes) -> Message:
    return Message(b"B", b"\0" + name + b"\0" + bytes(6))


def close(name: bytes) -> Message:
    return Message(b"C", b"S" + name + b"\0")


EXECUTE = Message(b"E", b"\0" + bytes(4))
SYNC = Message(b"S", b"")
FLUSH = Message(b"H", b"")
BATCH = st.one_of(
    st.builds(lambda sql: [Message(b"Q", sql + b"\0")], SQL),
    st.builds(lambda name, sql: [parse(name, sql), bind(name), EXECUTE, SYNC], NAME, SQL),
    st.builds(lambda name: [bind(name), EXECUTE, SYNC], NAME),
    st.builds(lambda name, sql: [parse(name, sql), FLUSH, bind(name), EXECUTE, SYNC], NAME, SQL),
    st.builds(lambda name: [close(name), SYNC], NAME),
    st.builds(lambda name: [parse(b"x", b"fail"), bind(b"x"), EXECUTE, close(name), SYNC], NAME),
    st.builds(lambda name, sql: [close(name), parse(name, sql), SYNC], NAME, SQL),
)


def talk(turn: Turn, session: FakeSession, message: Message) -> list[Message]:
    return [answer for answer in session.feed(turn.to_server(message)) if turn.to_client(answer)]


@given(st.lists(st.tuples(st.integers(0, 2), BATCH), max_size=25))
def test_each_client_sees_what_a_session_of_its_own_would_answer(
    work: list[tuple[int, list[Message]]],
) -> None:
    """Clients take turns at batch ends; an open transaction keeps the turn, as in the proxy.

    A real session takes a repeated Parse of the unnamed statement, so it is closed there first.
    """
    shared = FakeSession()
    turns = [Turn(number) for number in range(3)]
    alone = [FakeSession() for _ in range(3)]
    holder: int | None = None
    for client, batch in work:
        if holder not in {None, client}:
            continue
        for message in batch:
            if message.type == b"P" and message.body[:1] == b"\0" and not alone[client].skips:
                alone[client].statements.pop(b"", None)
            got = talk(turns[client], shared, message)
            assert got == alone[client].feed(message.encode())
        holder = None if turns[client].over else client
        assert turns[client].over == (alone[client].status == b"I")


@given(st.lists(BATCH, max_size=10))
def test_client_that_goes_leaves_no_statement_behind(work: list[list[Message]]) -> None:
    session, turn = FakeSession(), Turn(7)
    for batch in work:
        for message in batch:
            talk(turn, session, message)
    if turn.status != b"I":
        talk(turn, session, Message(b"Q", b"rollback\0"))
    for answer in session.feed(turn.forget_statements() + turn.sync()):
        turn.to_client(answer)
    assert session.statements == {}
    assert turn.over


def test_turn_of_a_client_that_only_prepares_is_over_at_its_flush() -> None:
    """asyncpg's `prepare` sends Flush and no Sync; it kept all others waiting."""
    session, turn = FakeSession(), Turn(1)
    talk(turn, session, parse(b"a", b"select"))
    assert talk(turn, session, FLUSH) == []
    assert turn.over
    assert [answer.type for answer in talk(turn, session, SYNC)] == [b"Z"]


def test_turn_with_a_bound_portal_is_not_over_before_sync() -> None:
    session, turn = FakeSession(), Turn(1)
    for message in (parse(b"a", b"select"), bind(b"a"), FLUSH):
        talk(turn, session, message)
    assert not turn.over
    talk(turn, session, SYNC)
    assert turn.over


def test_turn_is_not_over_when_a_second_batch_has_begun() -> None:
    session, turn = FakeSession(), Turn(1)
    data = turn.to_server(parse(b"a", b"select")) + turn.to_server(SYNC)
    data += turn.to_server(bind(b"a"))
    for answer in session.feed(data):
        turn.to_client(answer)
    assert not turn.over


def test_copy_from_stdin_becomes_its_refusal() -> None:
    sent = Turn(1).to_server(Message(b"Q", b"COPY public.t (a) FROM STDIN WITH BINARY\0"))
    assert b"not supported by the embedded TimescaleDB" in sent
    assert b"COPY public.t" not in sent


def test_text_that_only_mentions_copy_passes() -> None:
    sql = b"SELECT 'copy t from stdin'\0"
    assert sql in Turn(1).to_server(Message(b"Q", sql))


def test_deallocate_all_closes_only_the_own_statements() -> None:
    session, mine, other = FakeSession(), Turn(1), Turn(2)
    for turn in (mine, other):
        talk(turn, session, parse(b"a", b"select"))
        talk(turn, session, SYNC)
    answers = talk(mine, session, Message(b"Q", b"DEALLOCATE ALL\0"))
    assert [answer.type for answer in answers] == [b"C", b"Z"]
    assert list(session.statements) == [b"c2_a"]


def test_settings_are_looked_at_after_set_and_after_a_bound_set_config() -> None:
    turn = Turn(1)
    turn.to_client(Message(b"C", b"SET\0"))
    assert turn.settings_touched
    turn.settings_known()
    turn.to_server(parse(b"s", b"SELECT set_config($1, $2, false)"))
    assert not turn.settings_touched
    turn.to_server(bind(b"s"))  # type: ignore[unreachable]  # the call before changes it
    assert turn.settings_touched


def test_debug_notices_stay_with_the_proxy() -> None:
    turn = Turn(1)
    assert not turn.to_client(Message(b"N", b"SDEBUG\0VDEBUG\0C00000\0Mx\0\0"))
    assert turn.to_client(Message(b"N", b"SNOTICE\0VNOTICE\0C00000\0Mx\0\0"))
