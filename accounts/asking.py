"""The questions of a SASL exchange (accounts.sasl), carried out at the door (accounts.door)."""

from accounts.callers import Caller
from accounts.door import Admission, Door
from accounts.sasl import Admit, AdmitToken, Authenticate, FindVerifier, JudgeProof, Question
from accounts.scram import ScramExchange


async def ask(door: Door, caller: Caller, question: Question) -> Admission | ScramExchange:
    """A ScramExchange for FindVerifier and JudgeProof, otherwise an Admission.

    Raises NotAdmittedError, ThrottledError, IntrospectionError. A caller that leaves is cancelled, as at the door.
    """
    match question:
        case Authenticate(login, password, authzid, mechanism):
            return await door.admit(caller, login, password, authzid=authzid, mechanism=mechanism)
        case FindVerifier(login, mechanism):
            return ScramExchange(await door.scram_verifier(caller, login, mechanism))
        case JudgeProof(login, ScramExchange(verifier=verifier) as exchange, fits):
            await door.judge(caller, login, verifier, fits=fits)
            return exchange
        case Admit(login, ScramExchange(verifier=verifier), authzid):
            return await door.admit_proven(caller, login, verifier, authzid=authzid)
        case AdmitToken(login, token, mechanism):
            return await door.admit_token(caller, login, token, mechanism=mechanism)
    raise TypeError(f"{type(question).__name__} with a proof of another's")
