"""cloudslice token."""

import json
import time
from pathlib import Path

import click

from cloudslice.cli.common import fail, read_settings, settings_option
from cloudslice.config import CredentialSettings, Settings
from cloudslice.identity.temporary_keys import make_temporary_keys

_MAX_HOURS = 168


@click.command("token")
@settings_option
@click.option("--credential", "secret_id", help="SecretId; may be left out if there is only one.")
@click.option("--hours", type=click.IntRange(1, _MAX_HOURS), default=2, show_default=True)
def token_command(path: Path, secret_id: str | None, hours: int) -> None:
    """Print temporary keys of a credential, as JSON.

    They sign API calls like the credential's own for some hours; SDKs take the Token beside
    SecretId and SecretKey. Nothing is stored: to revoke them, change the credential's secret key.
    """
    credential = _choose_credential(read_settings(path), secret_id)
    keys = make_temporary_keys(
        credential.secret_id,
        credential.secret_key.get_secret_value(),
        now_s=time.time(),
        lifetime_s=hours * 3600,
    )
    printed = {
        "SecretId": keys.secret_id,
        "SecretKey": keys.secret_key,
        "Token": keys.token,
        "ExpiredTime": keys.expires_at,
    }
    click.echo(json.dumps(printed, indent=2))


def _choose_credential(settings: Settings, secret_id: str | None) -> CredentialSettings:
    there = {credential.secret_id: credential for credential in settings.credentials}
    if secret_id is None:
        if len(there) != 1:
            fail(f"--credential is needed: the settings have {', '.join(there) or 'none'}")
        return settings.credentials[0]
    if secret_id not in there:
        fail(f"--credential: {secret_id} is not in the settings")
    return there[secret_id]
