"""The two files of VQA v2.0 while they are read, joined by `question_id`."""

from __future__ import annotations

from array import array
from typing import Any

from tokenfuse_training.data.formats.columns import TextColumn, WordColumn
from tokenfuse_training.data.formats.entry import need_id, need_object, need_text, plain_text
from tokenfuse_training.data.formats.json_file import JsonFile, read_json
from tokenfuse_training.errors import BadRecordError, DataError
from tokenfuse_training.evaluation.vqa_answer import normalise_answer

__all__ = ["NUM_ANSWERS", "AnswerFile", "QuestionFile"]

# Annotators of a question.
NUM_ANSWERS = 10


class QuestionFile:
    """The questions file while it is read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.ids = array("q")
        self.images = array("q")
        self.texts = TextColumn()
        self.row_of: dict[int, int] = {}
        # Row to what is wrong with it.
        self.damaged: dict[int, str] = {}
        file = read_json(path, each={"questions": self._add}, keep=("data_subtype",))
        _need_array(file, path, "questions")
        self.sha256 = file.sha256
        self.subtype = _subtype(file, path)

    def _add(self, number: int, value: Any) -> None:
        row = len(self.ids)
        question_id = image_id = -1
        text = ""
        try:
            entry = need_object(value)
            question_id = need_id(entry, "question_id")
            image_id = need_id(entry, "image_id")
            text = need_text(entry, "question")
        except BadRecordError as error:
            self.damaged[row] = f"{self.path}: questions[{number}] {error}"
        self.ids.append(question_id)
        self.images.append(image_id)
        self.texts.append(text)
        if question_id < 0:
            return
        if self.row_of.setdefault(question_id, row) != row:
            raise DataError(f"{self.path} has question_id {question_id} twice; keep one")


class AnswerFile:
    """The annotations file while it is read."""

    def __init__(self, path: str, questions: QuestionFile) -> None:
        self.path = path
        self._questions = questions
        self._seen: set[int] = set()
        # Rows without an annotation keep these.
        self.said = array("i", [-1]) * (NUM_ANSWERS * len(questions.ids))
        self.words = WordColumn()
        self.normal = WordColumn()
        self._kind_of = array("i", [0]) * len(questions.ids)
        self._kinds = WordColumn()
        # Kind 0 is that of questions without an annotation.
        self._kinds.id_of("")
        # What is wrong with annotations that belong to no question.
        self.orphans: list[str] = []
        file = read_json(path, each={"annotations": self._add}, keep=("data_subtype",))
        _need_array(file, path, "annotations")
        self.sha256 = file.sha256
        subtype = _subtype(file, path)
        if subtype != questions.subtype:
            raise DataError(
                f"{path} is of {subtype}, {questions.path} of {questions.subtype}; "
                "give two files of the same split"
            )
        if not self._seen:
            raise DataError(f"{path} has no annotation of any question in {questions.path}")

    def _add(self, number: int, value: Any) -> None:
        where = f"{self.path}: annotations[{number}]"
        questions = self._questions
        try:
            entry = need_object(value)
            question_id = need_id(entry, "question_id")
            row = questions.row_of.get(question_id)
            if row is None:
                raise BadRecordError(f"is of question {question_id}, which {questions.path} lacks")
        except BadRecordError as error:
            self.orphans.append(f"{where} {error}")
            return
        if question_id in self._seen:
            raise DataError(f"{self.path} has question_id {question_id} twice; keep one")
        self._seen.add(question_id)
        if row in questions.damaged:
            return
        try:
            image_id = need_id(entry, "image_id")
            if image_id != questions.images[row]:
                asked = questions.images[row]
                raise BadRecordError(f"image_id={image_id}: the question is about {asked}")
            said = [self._word(text) for text in _said(entry)]
            if not any(self.normal[word] for word in said):
                raise BadRecordError("answers: need one that is not empty")
            self.said[NUM_ANSWERS * row : NUM_ANSWERS * (row + 1)] = array("i", said)
            self._kind_of[row] = self._kinds.id_of(need_text(entry, "answer_type"))
        except BadRecordError as error:
            questions.damaged[row] = f"{where} {error}"

    def _word(self, text: str) -> int:
        word = self.words.id_of(text)
        if word == len(self.normal):
            self.normal.append(normalise_answer(text))
        return word

    def kinds(self) -> WordColumn:
        self._kinds.ids = self._kind_of
        return self._kinds.close()

    def check_all(self) -> None:
        """A question without an annotation is damaged."""
        questions = self._questions
        for question_id, row in questions.row_of.items():
            if question_id not in self._seen:
                questions.damaged.setdefault(
                    row,
                    f"{questions.path}: question {question_id} has no annotation in {self.path}",
                )


def _said(entry: Any) -> list[str]:
    """What the ten said."""
    answers = entry.get("answers")
    if not isinstance(answers, list) or len(answers) != NUM_ANSWERS:
        found = len(answers) if isinstance(answers, list) else repr(answers)[:60]
        raise BadRecordError(f"answers: need {NUM_ANSWERS} of them, found {found}")
    texts = []
    for answer in answers:
        text = plain_text(need_object(answer).get("answer"))
        if text is None:
            raise BadRecordError(f"answers: need a text as `answer`, found {answer!r:.60}")
        texts.append(text)
    return texts


def _need_array(file: JsonFile, path: str, field: str) -> None:
    if field not in file.counts:
        raise DataError(f"{path} has no {field!r}; need the published file of VQA v2.0, with one")


def _subtype(file: JsonFile, path: str) -> str:
    """The part of a picture's name that tells its split."""
    subtype = file.fields.get("data_subtype")
    # Both test splits ask about the pictures of test2015.
    known = {
        "train2014": "train2014",
        "val2014": "val2014",
        "test2015": "test2015",
        "test-dev2015": "test2015",
    }
    if not isinstance(subtype, str) or subtype not in known:
        raise DataError(f"{path}: data_subtype={subtype!r}; need one of {', '.join(known)}")
    return known[subtype]
