"""Windows' rules for a command line."""

from __future__ import annotations


def windows_words(line: str) -> list[str]:
    """Return the arguments in a line, by Microsoft's rules for CommandLineToArgvW, except those for the program's name.

    2n backslashes before a quote mean n backslashes, and the quote opens or closes; 2n + 1 before a quote mean n
    backslashes and a literal quote; other backslashes are literal; blanks and tabs separate arguments.
    """
    words: list[str] = []
    word, inside, begun, at = "", False, False, 0
    while at < len(line):
        slashes = len(line[at:]) - len(line[at:].lstrip("\\"))
        at += slashes
        if at < len(line) and line[at] == '"':
            word, begun = word + "\\" * (slashes // 2), True
            if slashes % 2:
                word += '"'
            else:
                inside = not inside
            at += 1
            continue
        word, begun = word + "\\" * slashes, begun or slashes > 0
        if at == len(line):
            break
        if line[at] in " \t" and not inside:
            words += [word] if begun else []
            word, begun = "", False
        else:
            word, begun = word + line[at], True
        at += 1
    return [*words, word] if begun else words
