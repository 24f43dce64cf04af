"""TLS as the client has it: whom connections trust, and what to do about a refusal."""

from __future__ import annotations

import os
import ssl
from typing import Final

from shardpack.errors import StorageError

__all__ = ["context_of", "explain", "refused_certificate"]

_NOT_TRUSTED: Final = (
    "if it is the right server, name its authority: verify='authority.pem' of the boto3 client, or"
    " AWS_CA_BUNDLE"
)
_NOT_NOW: Final = "it must be renewed, unless the clock here is wrong"
_NOT_THERE: Final = "the endpoint must be named as in the certificate"
_OTHER_NAME: Final = 62
# By the numbers of OpenSSL.
_ADVICE: Final = {
    **dict.fromkeys((2, 18, 19, 20, 21, 27), _NOT_TRUSTED),
    **dict.fromkeys((9, 10), _NOT_NOW),
    **dict.fromkeys((_OTHER_NAME, 64), _NOT_THERE),
}


def context_of(verify: bool | str | None) -> ssl.SSLContext:  # noqa: FBT001 - as botocore has it
    """Make the settings that botocore would use: nobody is trusted beside its authorities.

    Args:
        verify: As in ``ClientSettings``.

    Raises:
        StorageError: The authorities cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if isinstance(verify, str):
        authorities = verify
    else:
        from botocore.httpsession import where

        authorities = where()
    try:
        if os.path.isdir(authorities):
            context.load_verify_locations(capath=authorities)
        else:
            context.load_verify_locations(cafile=authorities)
    except OSError as error:
        raise StorageError(
            f"the certificates of authorities in {authorities!r}, which verify= or AWS_CA_BUNDLE"
            f" names, cannot be used: {error.strerror}"
        ) from error
    return context


def refused_certificate(error: BaseException) -> Exception | None:
    """Find the refusal of a certificate in an error or in what it wraps.

    Not by its context: that is whatever the caller of all this was handling.

    Args:
        error: What a socket or botocore raised.

    Returns:
        OpenSSL's refusal, or that of urllib3, which compares the name of the server by itself.
    """
    from urllib3.util.ssl_match_hostname import CertificateError

    seen: object = error
    while isinstance(seen, BaseException):
        if isinstance(seen, (ssl.SSLCertVerificationError, CertificateError)):
            return seen
        wrapped = getattr(seen, "kwargs", {}).get("error")  # botocore
        seen = wrapped or seen.__cause__ or next(iter(seen.args), None)  # urllib3
    return None


def explain(refused: Exception, server: str) -> str:
    """Say which certificate is refused, why, and what can be done.

    Args:
        refused: What ``refused_certificate`` found.
        server: Where the server is.
    """
    reason, number = str(refused), _OTHER_NAME
    if isinstance(refused, ssl.SSLCertVerificationError):
        reason, number = refused.verify_message, refused.verify_code
    text = f"the certificate of {server} is refused: {reason.rstrip('.')}"
    advice = _ADVICE.get(number)
    return text if advice is None else f"{text}; {advice}"
