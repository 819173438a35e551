"""Rights that can be given are those that a page asks for, said in plain words."""

from django import forms
from django.contrib.auth.models import Permission

from mailplatform.admin.rights import PermissionsField, meaningful_permissions


def test_every_right_that_has_a_page_can_be_given(db: None) -> None:
    offered = {permission.codename for permission in meaningful_permissions()}
    wanted = {
        f"{deed}_{model}" for deed in ("view", "add", "change", "delete") for model in ("user", "mailbox", "domain")
    }
    assert wanted | {"read_mail", "view_logentry", "view_group"} <= offered


def test_a_right_without_a_page_is_no_choice(db: None) -> None:
    class Form(forms.Form):
        permissions = PermissionsField(label="permissions", required=False)

    def errors(codename: str) -> object:
        return Form({"permissions": [str(Permission.objects.get(codename=codename).pk)]}).errors

    assert errors("read_mail") == {}
    assert "permissions" in errors("delete_logentry")
    assert "permissions" in errors("change_group")
    assert "permissions" in errors("change_session")
