"""The base class of benchmarks whose answers a judge reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from mdpo_benchmarks.judging.cache import ReplyCache
from mdpo_benchmarks.judging.judge import Judge
from mdpo_benchmarks.judging.template import JudgeTemplate, read_template
from mdpo_core import Benchmark, ChatReply, ChatRequest, ChatServer, JudgeUse, Patience, RecipeError, ServerAddress


class Judged(Benchmark):
    """Questions whose answers a judge reads: a model behind a server that speaks OpenAI's chat completions."""

    # The official script's: the model, the role of the message, the parameters, and the SHA-256 of the template.
    official_judge: ClassVar[str]
    judge_role: ClassVar[str] = "user"
    judge_parameters: ClassVar[Mapping[str, Any]] = {}
    official_template: ClassVar[str]

    judge: str | None = Field(default=None, description="address of the judge's server, such as http://host:8000/v1")
    judge_model: str | None = Field(default=None, description="model to ask for; by default the official script's")
    judge_accept: str | None = Field(default=None, description="name of another model that may answer instead")
    judge_key_env: str = Field(default="OPENAI_API_KEY", description="environment variable with the judge's key")
    judge_parallel: int = Field(default=4, ge=1, le=256, description="requests at once")
    judge_timeout: float = Field(default=100.0, gt=0, description="seconds to wait for a reply")
    judge_retries: int = Field(default=6, ge=0, le=100, description="attempts after the first, for faults that pass")
    judge_wait: float = Field(default=2.0, ge=0, description="seconds before the first retry; then twice as many")
    judge_cache: Path | None = Field(
        default=None, description="file of the replies, so that none is asked for twice; by default beside the answers"
    )
    judge_template: Path | None = Field(default=None, description="file with the official template of the message")
    custom_template: bool = Field(default=False, description="accept a template that is not the official one")

    @property
    def variant(self) -> str:
        return ", ".join(self.deviations()) or "official"

    def deviations(self) -> list[str]:
        """Each option with which the score differs from the official script's."""
        if self.judge is None:
            return []
        return [
            *([f"judge={self.asked_model}"] if self.asked_model != self.official_judge else []),
            *([f"judge_accept={self.judge_accept}"] if self.judge_accept else []),
            *(["custom_template"] if self.custom_template else []),
        ]

    @property
    def asked_model(self) -> str:
        """The model that is asked."""
        return self.judge_model or self.official_judge

    def beside(self, answers: Path) -> Self:
        if self.judge is None or self.judge_cache is not None:
            return self
        return self.model_copy(update={"judge_cache": answers.with_name(f"{answers.name}.judge.jsonl")})

    def check(self) -> None:
        super().check()
        if self.judge is not None:
            self.template()
            self.open_judge()

    def files(self) -> Sequence[Path]:
        return [self._template_file()] if self.judge is not None else []

    def template(self) -> JudgeTemplate:
        """The judge's template. Raises `RecipeError` if it is missing, or not the official one."""
        return read_template(self._template_file(), self.official_template, self.custom_template)

    def _template_file(self) -> Path:
        return self.required("judge_template", "the official template of the message to the judge")

    def request(self, content: str) -> ChatRequest:
        """The request for a message."""
        return ChatRequest(self.asked_model, self.judge_role, content, self.judge_parameters)

    def open_judge(self) -> Judge:
        """The judge. Raises `RecipeError` or `DataError` if an option, the library or the file of replies is wrong."""
        if self.judge_cache is None:
            raise RecipeError(f"the benchmark '{self.component_name()}' needs --judge-cache FILE, for the replies")
        return Judge(self._server(), ReplyCache(self.judge_cache), self.judge_accept, self.judge_parallel)

    def _server(self) -> ChatServer:
        assert self.judge is not None, "only a benchmark with a judge asks one"
        address = ServerAddress(self.judge, self.judge_key_env, "the judge", "judge")
        return ChatServer(address, Patience(self.judge_timeout, self.judge_retries, self.judge_wait))

    def use_of(self, replies: Sequence[ChatReply]) -> JudgeUse:
        """What the result says about the judge."""
        asked = self.asked_model if self.judge is not None else self.judge_model
        models = sorted({reply.model for reply in replies if reply.model is not None})
        return JudgeUse(asked, tuple(models), len(replies))
