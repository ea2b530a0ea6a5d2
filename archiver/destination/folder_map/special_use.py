"""Common names of the folders for sent mail, drafts, trash, junk and archives, in many languages.

Servers without SPECIAL-USE (RFC 6154), and clients that never used it, tell what a folder is for by its name alone.
The names are those that mail programs and providers give, each under one use only: a name that means one thing here
and another there (Chinese 垃圾箱 is trash or junk) is left out, since mail in the wrong folder may be deleted.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

#: A language a line; English first, then as many as we know. What stands earlier is preferred.
_BY_LANGUAGE: Mapping[str, Iterable[str]] = {
    "\\sent": (
        "Sent|Sent Items|Sent Messages|Sent Mail|Sent-Mail|Sent Email|Sent Objects",
        "Gesendet|Gesendete Elemente|Gesendete Objekte|Gesendete Nachrichten|Gesendete E-Mails|Gesendete Mails",
        "Envoyés|Éléments envoyés|Eléments envoyés|Messages envoyés|Objets envoyés|Courrier envoyé|Envoyes",
        "Enviados|Elementos enviados|Mensajes enviados|Correo enviado|Correos enviados|Enviado",
        "Inviata|Inviati|Posta inviata|Messaggi inviati|Elementi inviati",
        "Enviadas|Itens Enviados|Mensagens enviadas|E-mails enviados|E-mail enviado|Correio enviado",
        "Verzonden|Verzonden items|Verzonden berichten|Verzonden e-mail|Verzonden objecten",
        "Sendt|Sendt post|Sendte elementer|Sendte beskeder|Sendte mails|Sendte e-mails",
        "Skickat|Skickade|Skickade objekt|Skickade meddelanden|Skickad e-post",
        "Sendte|Sendte meldinger|Sendte e-poster|Sendt e-post|Sendte objekter",
        "Lähetetyt|Lähetetyt viestit|Lähetetyt kohteet",
        "Wysłane|Elementy wysłane|Wysłane elementy|Wiadomości wysłane|Poczta wysłana",
        "Odeslané|Odeslaná pošta|Odeslané zprávy|Odeslané položky",
        "Odoslané|Odoslaná pošta|Odoslané správy|Odoslané položky",
        "Elküldött|Elküldöttek|Elküldött elemek|Elküldött üzenetek|Elküldött levelek|Küldöttek",
        "Trimise|Elemente trimise|Mesaje trimise|E-mailuri trimise",
        "Отправленные|Отправленные элементы|Отправленные письма|Отправленные сообщения|Отправлено",
        "Надіслані|Надіслані елементи|Надіслані листи|Відправлені|Відправлені листи",
        "Изпратени|Изпратени елементи|Изпратена поща|Изпратени писма|Изпратени съобщения",
        "Απεσταλμένα|Απεσταλμένα στοιχεία|Απεσταλμένα μηνύματα|Απεσταλμένη αλληλογραφία",
        "Gönderilmiş|Gönderilenler|Gönderilmiş Öğeler|Gönderilmiş Postalar|Gönderilmiş İletiler|Gönderilen",
        "المرسل|المرسلة|العناصر المرسلة|البريد المرسل|الرسائل المرسلة|بريد مرسل",
        "נשלח|נשלחו|פריטים שנשלחו|דואר שנשלח|הודעות שנשלחו",
        "送信済み|送信済みアイテム|送信済みトレイ|送信済みメール|送信済メール|送信済みメッセージ",
        "已发送|已发送邮件|已发送的邮件|已发送邮件夹|已发邮件|已发送项目",
        "寄件備份|寄件備份匣|已傳送|已傳送郵件|已傳送的郵件|已寄出|已寄出郵件",
        "보낸 편지함|보낸편지함|보낸 메일함|보낸메일함|보낸 메일|보낸 항목",
        "Đã gửi|Thư đã gửi|Mục đã gửi|Các mục đã gửi|Khoản mục đã Gửi",
        "ส่งแล้ว|จดหมายที่ส่งแล้ว|รายการที่ส่ง|รายการที่ถูกส่ง|ข้อความที่ส่ง|อีเมลที่ส่งแล้ว",
        "Terkirim|Item Terkirim|Surat Terkirim|Pesan Terkirim|Email Terkirim",
    ),
    "\\drafts": (
        "Drafts|Draft|Draft Messages",
        "Entwürfe|Entwurf",
        "Brouillons|Brouillon",
        "Borradores|Borrador",
        "Bozze|Bozza",
        "Rascunhos|Rascunho",
        "Concepten|Conceptberichten",
        "Kladder|Kladde",
        "Utkast",
        "Kladd|Utkaster",
        "Luonnokset|Luonnos",
        "Kopie robocze|Wersje robocze|Szkice",
        "Koncepty|Rozepsané|Rozepsané zprávy",
        "Rozpísané|Rozpísané správy",
        "Piszkozatok|Piszkozat",
        "Ciorne|Schițe|Schiţe",
        "Черновики|Черновик",
        "Чернетки|Чернетка",
        "Чернови|Чернова",
        "Πρόχειρα",
        "Taslaklar|Taslak",
        "المسودات|مسودات|مسودة",
        "טיוטות|טיוטה",
        "下書き|下書きトレイ|ドラフト",
        "草稿|草稿箱|草稿夹",
        "草稿匣|草稿夾",
        "임시 보관함|임시보관함|임시 보관|초안",
        "Thư nháp|Bản nháp|Nháp",
        "ร่าง|ร่างจดหมาย|จดหมายร่าง|แบบร่าง|กล่องจดหมายร่าง",
        "Draf|Konsep",
    ),
    "\\trash": (
        "Trash|Deleted Items|Deleted Messages|Deleted|Deleted Objects|Bin|Wastebasket|Trash Bin|Recycle Bin",
        "Papierkorb|Gelöscht|Gelöschte Elemente|Gelöschte Objekte|Gelöschte Nachrichten|Mülleimer",
        "Corbeille|Éléments supprimés|Eléments supprimés|Messages supprimés|Objets supprimés|Supprimés|Poubelle",
        "Papelera|Elementos eliminados|Mensajes eliminados|Eliminados|Papelera de reciclaje",
        "Cestino|Posta eliminata|Elementi eliminati|Messaggi eliminati|Eliminati",
        "Lixeira|Itens Excluídos|Itens Eliminados|Mensagens Excluídas|Lixo|Excluídos",
        "Prullenbak|Prullenmand|Verwijderde items|Verwijderde berichten|Verwijderd|Verwijderde objecten",
        "Papirkurv|Slettet post|Slettede elementer|Slettede beskeder|Slettet",
        "Papperskorg|Papperskorgen|Borttaget|Borttagna objekt|Borttagna meddelanden",
        "Papirkurven|Slettede|Slettede meldinger|Slettede objekter|Søppelkasse",
        "Roskakori|Poistetut|Poistetut viestit|Poistetut kohteet",
        "Kosz|Elementy usunięte|Usunięte elementy|Usunięte",
        "Koš|Odstraněná pošta|Odstraněné položky|Odstraněné|Smazané",
        "Kôš|Odstránená pošta|Odstránené položky|Odstránené|Vymazané",
        "Kuka|Törölt elemek|Törölt üzenetek|Törölt|Lomtár",
        "Coș de gunoi|Coş de gunoi|Coș|Gunoi|Elemente șterse|Elemente şterse|Mesaje șterse",
        "Корзина|Удаленные|Удалённые|Удаленные элементы|Удалённые элементы|Удаленные письма",
        "Кошик|Видалені|Видалені елементи|Смітник",
        "Кошче|Изтрити|Изтрити елементи|Изтрити писма",
        "Κάδος|Κάδος απορριμμάτων|Κάδος ανακύκλωσης|Διαγραμμένα|Διαγραμμένα στοιχεία|Απορρίμματα",
        "Çöp|Çöp Kutusu|Silinmiş Öğeler|Silinmiş|Silinenler|Silinmiş Postalar",
        "المهملات|سلة المهملات|العناصر المحذوفة|المحذوفة|الرسائل المحذوفة",
        "אשפה|פריטים שנמחקו|סל האשפה|הודעות שנמחקו",
        "ゴミ箱|ごみ箱|削除済みアイテム|削除済みメッセージ|削除済み",
        "已删除|已删除邮件|已删除的邮件|已删除项目|废件箱|回收站|废纸篓",
        "垃圾桶|刪除的郵件|已刪除的郵件|已刪除郵件|已刪除|資源回收桶",
        "휴지통|지운 편지함|지운편지함|지운 메일함|삭제된 항목|삭제된 메일",
        "Thùng rác|Mục đã xóa|Mục đã xoá|Thư đã xóa|Đã xóa|Khoản mục đã Xóa",
        "ถังขยะ|รายการที่ถูกลบ|รายการที่ลบ|ลบแล้ว",
        "Sampah|Tong Sampah|Kotak Sampah|Item yang Dihapus|Surat Terhapus|Item Terhapus",
    ),
    "\\junk": (
        "Junk|Spam|Junk E-mail|Junk Email|Junk Mail|Bulk Mail|Junk Messages|Junk-E-Mail|Junkmail",
        "Spamverdacht|Spam-Verdacht|Unerwünscht|Unerwünschte Werbung|Unerwünschte Mails|Spam-Ordner",
        "Courrier indésirable|Indésirables|Indésirable|Pourriel|Pourriels|Courriel indésirable",
        "Correo no deseado|No deseado|No deseados|Correo basura",
        "Posta indesiderata|Indesiderata",
        "Lixo Eletrônico|Lixo Eletrónico|Lixo Electrónico|E-mail de Lixo|Correio não solicitado",
        "Ongewenste e-mail|Ongewenst|Ongewenste mail|Ongewenste berichten|Ongewenste reclame",
        "Uønsket mail|Uønsket post|Uønsket e-mail|Uønsket",
        "Skräppost|Skräp|Skräpmail",
        "Søppelpost|Uønsket e-post",
        "Roskaposti|Roskapostit",
        "Wiadomości-śmieci|Wiadomości śmieci|Niechciane|Niechciana poczta",
        "Nevyžádaná pošta|Nevyžádané",
        "Nevyžiadaná pošta|Nevyžiadané",
        "Levélszemét|Kéretlen|Kéretlen levelek|Kéretlen üzenetek",
        "Mesaje nedorite|Poștă nedorită|Poştă nedorită|E-mail nedorit|Nedorite",
        "Спам|Нежелательная почта|Нежелательные",
        "Небажана пошта|Небажані",
        "Нежелана поща|Нежелани",
        "Ανεπιθύμητα|Ανεπιθύμητη αλληλογραφία|Ανεπιθύμητα μηνύματα",
        "Önemsiz|Önemsiz E-posta|İstenmeyen|İstenmeyen E-posta|Önemsiz Posta",
        "البريد العشوائي|غير المرغوب|البريد غير الهام|البريد الإلكتروني غير الهام|بريد غير مرغوب",
        "דואר זבל|זבל|ספאם|דואר אלקטרוני זבל",
        "迷惑メール|迷惑メールフォルダ|迷惑メールトレイ|スパム",
        "垃圾邮件|广告邮件|垃圾邮件夹",
        "垃圾郵件|垃圾信件|垃圾信件匣|垃圾郵件匣",
        "스팸|스팸함|스팸 편지함|스팸편지함|스팸메일함|스팸 메일함|정크 메일",
        "Thư rác|Thư rác điện tử",
        "จดหมายขยะ|อีเมลขยะ|กล่องจดหมายขยะ|สแปม",
        "Email Sampah|Surat Sampah",
    ),
    "\\archive": (
        "Archive|Archives|Archived",
        "Archiv|Archivierte Objekte|Archiviert",
        "Archivés|Messages archivés",
        "Archivo|Archivados|Archivado",
        "Archivio|Archiviati",
        "Arquivo|Arquivo Morto|Arquivados|Arquivadas|Arquivo de mensagens",
        "Archief|Gearchiveerd",
        "Arkiv|Arkiveret",
        "Arkiverat",
        "Arkivert",
        "Arkisto|Arkistoidut",
        "Archiwum|Zarchiwizowane",
        "Archivováno",
        "Archív",
        "Archívum",
        "Arhivă|Arhiva|Arhivate",
        "Архив|Заархивированные",
        "Архів",
        "Архивирани",
        "Αρχείο|Αρχειοθήκη|Αρχειοθετημένα",
        "Arşiv|Arşivlenmiş",
        "الأرشيف|أرشيف|الارشيف",
        "ארכיון|פריטים בארכיון",
        "アーカイブ|アーカイブ済み",
        "存档|归档|已归档",
        "封存|典藏|已封存|歸檔",
        "보관|아카이브|보관 메일함",
        "Lưu trữ|Thư lưu trữ|Đã lưu trữ",
        "ที่เก็บถาวร|เก็บถาวร",
        "Arsip|Diarsipkan",
    ),
}

#: The names of each use, the preferred first.
NAMES: Mapping[str, Sequence[str]] = {
    use: tuple(dict.fromkeys(name for line in lines for name in line.split("|")))
    for use, lines in _BY_LANGUAGE.items()
}


def folded(text: str) -> str:
    """`text` without regard to case and to how accents are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


#: Gmail keeps its own folders below one of these, which is not translated.
_GMAIL = frozenset(map(folded, ("[Gmail]", "[Google Mail]")))

_KNOWN = {
    folded(name): (use, rank)
    for use, names in NAMES.items()
    for rank, name in reversed(tuple(enumerate(names)))  # of two spellings that fold alike the first counts
}


def special_name(path: Sequence[str]) -> tuple[str, int] | None:
    """The use that a folder's name tells, and the name's rank there (less is preferred); None if it tells none.

    Only a name at the top, or below `[Gmail]`, tells something: `Projects/Archive` may be anything.
    """
    if len(path) == 1 or (len(path) == 2 and folded(path[0]) in _GMAIL):
        return _KNOWN.get(folded(path[-1]))
    return None
